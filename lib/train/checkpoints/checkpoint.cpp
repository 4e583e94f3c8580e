#include "lib/train/checkpoints/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <cstring>
#include <filesystem>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/data/sealed_json.h"
#include "lib/model/weight_files.h"
#include "lib/text/tokenizer_file.h"

namespace gca::train {
namespace {

const std::string kFirstMoment = "first_moment.";
const std::string kSecondMoment = "second_moment.";

const char* dtype_name(at::ScalarType type) {
  return type == at::kDouble ? "F64" : "F32";
}

SafetensorsTensor described(const std::string& name, const at::Tensor& x) {
  return {name, dtype_name(x.scalar_type()), x.sizes().vec(), x.const_data_ptr()};
}

std::vector<at::Tensor> on_cpu(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : tensors) copies.push_back(tensor.defined() ? tensor.to(at::kCPU) : tensor);
  return copies;
}

void save_optimizer(const std::string& path, const model::LanguageModel& model,
                    const AdamWOptimizer& optimizer) {
  std::vector<SafetensorsTensor> tensors;
  const std::vector<model::Weight>& weights = model.weights();
  const std::vector<at::Tensor> first = on_cpu(optimizer.first_moments());
  const std::vector<at::Tensor> second = on_cpu(optimizer.second_moments());
  for (size_t i = 0; i < weights.size(); ++i)
    if (first[i].defined()) tensors.push_back(described(kFirstMoment + weights[i].name, first[i]));
  for (size_t i = 0; i < weights.size(); ++i)
    if (second[i].defined()) tensors.push_back(described(kSecondMoment + weights[i].name, second[i]));
  write_safetensors(path, tensors, {{"format", "pt"}});
}

/// Copies the tensor `name` of `file` into `target`, bit by bit.
void copy_into(const SafetensorsFile& file, const std::string& name, const at::Tensor& target) {
  const at::NoGradGuard no_grad;
  const SafetensorsEntry& entry = file.at(name);
  if (entry.dtype != dtype_name(target.scalar_type()) || entry.shape != target.sizes().vec())
    fail_usage(file.path(),
               fmt::format("tensor {} is {} ({}), this run's is {} ({})", name, entry.dtype,
                           fmt::join(entry.shape, ", "), dtype_name(target.scalar_type()),
                           fmt::join(target.sizes().vec(), ", ")),
               "use the sizes that the checkpoint's config.json names");
  const at::Tensor bits = at::empty(target.sizes(), target.options().device(at::kCPU));
  std::memcpy(bits.mutable_data_ptr(), entry.data, entry.size_bytes);
  target.copy_(bits);
}

/// The token that ends a text stands in config.json where Hugging Face tools look for it; it is no setting of
/// the model.
void name_end_token(const std::string& config_path, int64_t end_token) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(read_file(config_path));
  config["eos_token_id"] = end_token;
  write_file_atomically(config_path, config.dump(2) + "\n");
}

}  // namespace

std::string checkpoint_folder(const std::string& output) {
  return output + "/checkpoint";
}

void save_checkpoint(const std::string& folder, const model::LanguageModel& model,
                     const model::ModelConfig& config, const AdamWOptimizer& optimizer,
                     const TrainerState& state, const std::string& tokenizer_file) {
  replace_folder_atomically(folder, [&](const std::string& aside) {
    model::save_model(model, config, aside, tokenizer_file.empty() ? "" : sha256_hex(tokenizer_file));
    if (state.end_token >= 0) name_end_token(aside + "/config.json", state.end_token);
    save_optimizer(aside + "/optimizer.safetensors", model, optimizer);
    if (!tokenizer_file.empty())
      write_file_atomically(aside + "/" + text::tokenizer_file_name(tokenizer_file), tokenizer_file);
    data::write_sealed_json(aside + "/trainer_state.json", trainer_state_to_json(state));
  });
}

TrainerState load_trainer_state(const std::string& folder) {
  const std::string path = folder + "/trainer_state.json";
  if (!std::filesystem::exists(path))
    fail_usage(folder, "no checkpoint to resume from", "leave out --resume to begin a run");
  const nlohmann::json json = nlohmann::json::parse(read_file(path), nullptr, false);
  TrainerState state = trainer_state_from_json(json, path);
  if (json.contains("seal"))  // checkpoints of earlier versions have none
    data::require_seal(json, path, "resume from a checkpoint that is whole, or begin a new run with --init");
  return state;
}

void load_optimizer(const std::string& folder, const model::LanguageModel& model, AdamWOptimizer& optimizer) {
  const SafetensorsFile file(folder + "/optimizer.safetensors");
  file.verify();
  for (size_t i = 0; i < model.weights().size(); ++i) {
    if (!model.weights()[i].rules.trained) continue;
    const std::string& name = model.weights()[i].name;
    copy_into(file, kFirstMoment + name, optimizer.first_moments()[i]);
    copy_into(file, kSecondMoment + name, optimizer.second_moments()[i]);
  }
}

void load_weights(const std::string& folder, model::LanguageModel& model) {
  model::require_sound_model_files(folder);
  model::read_weights(SafetensorsFile(folder + "/model.safetensors"), model,
                      "use the sizes that the checkpoint's config.json names");
}

}  // namespace gca::train
