// model.safetensors and config.json, the model's part of a checkpoint.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <fstream>

#include "lib/core/atomic_file.h"
#include "lib/core/error.h"
#include "lib/core/safetensors_file.h"
#include "lib/model/drt.h"

namespace gca {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

}  // namespace

void save_model(const Drt& model, const std::string& folder) {
  std::vector<SafetensorsTensor> tensors;
  std::vector<at::Tensor> alive;
  for (const Weight& weight : model.weights()) {
    alive.push_back(weight.master.detach().to(at::kFloat).contiguous());
    tensors.push_back({weight.name, "F32", weight.master.sizes().vec(), alive.back().const_data_ptr()});
  }
  write_safetensors(folder + "/model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(folder + "/config.json", model_config_to_json(model.config()).dump(2) + "\n");
}

Drt load_model(const std::string& folder, at::ScalarType compute_dtype) {
  const std::string config_path = folder + "/config.json";
  const nlohmann::json json =
      nlohmann::json::parse(read_file(config_path), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) fail_usage(config_path, "is no JSON", "give a checkpoint folder that gca wrote");
  Drt model(model_config_from_json(json, config_path), compute_dtype);
  const SafetensorsFile file(folder + "/model.safetensors");
  const at::NoGradGuard no_grad;
  for (Weight& weight : model.weights()) {
    const SafetensorsEntry& entry = file.at(weight.name);
    const std::vector<int64_t> wanted = weight.master.sizes().vec();
    if (entry.shape != wanted)
      fail_usage(file.path(), weight.name + " has shape " + shape_text(entry.shape),
                 config_path + " asks for " + shape_text(wanted));
    if (entry.dtype != "F32" && entry.dtype != "BF16")
      fail_usage(file.path(), weight.name + " is of type " + entry.dtype, "F32 and BF16 can be read");
    const at::ScalarType stored = entry.dtype == "F32" ? at::kFloat : at::kBFloat16;
    at::Tensor rows = at::empty(wanted, stored);
    std::copy_n(entry.data, entry.size_bytes, static_cast<std::byte*>(rows.mutable_data_ptr()));
    weight.master.copy_(rows);
  }
  if (file.entries().size() != model.weights().size())
    fail_usage(file.path(), "holds " + std::to_string(file.entries().size()) + " tensors",
               config_path + " asks for " + std::to_string(model.weights().size()));
  model.refresh_compute_weights();
  return model;
}

}  // namespace gca
