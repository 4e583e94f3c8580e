#include "lib/model/llama/llama_files.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/safetensors_shards.h"
#include "lib/model/llama/llama_config.h"
#include "lib/model/llama/llama_names.h"
#include "lib/model/model_cost.h"
#include "lib/model/weight_files.h"

namespace gca::model {
namespace {

constexpr const char* kRestore = "restore the config.json that belongs to these weights";

/// Where another program keeps weights, this one reads no more than safetensors: unpickling runs code.
void require_safetensors(const std::string& folder) {
  namespace fs = std::filesystem;
  if (fs::exists(folder + "/model.safetensors") || fs::exists(folder + "/" + kShardIndex)) return;
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (fs::exists(folder + "/" + name))
      fail_usage(folder + "/" + name, "is not read: opening it runs code", "convert it to safetensors");
  if (fs::exists(folder + "/consolidated.00.pth"))
    fail_usage(folder + "/consolidated.00.pth",
               "is not read: opening it runs code, and its rows are in another order",
               "get the Hugging Face form of this model");
  fail_usage(folder, "holds no model.safetensors", "copy or download the folder again");
}

double size_of(const std::vector<int64_t>& shape) {
  double size = 1;
  for (const int64_t extent : shape) size *= static_cast<double>(extent);
  return size;
}

/// Before so much memory is asked for: there must be as many weights as the configuration wants.
void require_weight_count(const SafetensorsShards& shards, const ModelConfig& config,
                          const std::string& config_path) {
  double held = 0;
  for (const auto& [name, tensor] : shards.tensors()) held += size_of(tensor.entry->shape);
  if (held < parameter_count(config))
    fail_usage(
        config_path,
        fmt::format("asks for {:.0f} weights, {} has {:.0f}", parameter_count(config), shards.path(), held),
        kRestore);
}

/// With tied embeddings a copy of the embedding adds nothing; anything else would be another model.
void require_tied_output(const SafetensorsShards& shards) {
  const SafetensorsEntry& output = *shards.at(kLlamaOutput).entry;
  const SafetensorsEntry& embedding = *shards.at(kLlamaEmbedding).entry;
  if (output.dtype == embedding.dtype && output.shape == embedding.shape &&
      std::equal(output.data, output.data + output.size_bytes, embedding.data))
    return;
  fail_usage(
      shards.at(kLlamaOutput).file->path(),
      fmt::format("{} differs from {}, and tie_word_embeddings is true", kLlamaOutput, kLlamaEmbedding),
      "set tie_word_embeddings to false in config.json");
}

void read_weights(const SafetensorsShards& shards, LanguageModel& model) {
  const at::NoGradGuard no_grad;
  std::set<std::string> known;
  for (Weight& weight : model.weights()) {
    const std::string name = llama_name(weight.name, model.config());
    known.insert(name);
    copy_tensor(*shards.at(name).file, name, kRestore, weight.master);
  }
  for (const auto& [name, tensor] : shards.tensors()) {
    if (known.contains(name) || is_unused_in_llama(name)) continue;
    if (name == kLlamaOutput && model.config().tied_output) {
      require_tied_output(shards);
      continue;
    }
    fail_usage(tensor.file->path(),
               fmt::format("holds the tensor {} ({}), which this model does not have", name,
                           fmt::join(tensor.entry->shape, ", ")),
               kRestore);
  }
  model.refresh_compute_weights();
}

}  // namespace

LanguageModel load_llama(const std::string& folder, at::ScalarType compute_dtype, at::Device device,
                         WeightDtype weight_dtype, Masters masters) {
  const std::string config_path = folder + "/config.json";
  const ModelConfig config = read_model_config(folder);
  require_safetensors(folder);
  const SafetensorsShards shards(folder);
  require_weight_count(shards, config, config_path);
  LanguageModel model(config, compute_dtype, device, weight_dtype, masters);
  read_weights(shards, model);
  return model;
}

void save_llama(const LanguageModel& model, at::ScalarType dtype, const std::string& folder,
                const std::string& where) {
  const bool is_bf16 = dtype == at::kBFloat16;
  const auto config = llama_config_to_json(model.config(), is_bf16 ? "bfloat16" : "float32", where);
  std::vector<SafetensorsTensor> tensors;
  std::vector<at::Tensor> alive;
  for (const Weight& weight : model.weights()) {
    alive.push_back(weight.master.detach().to(at::kCPU, dtype).contiguous());
    tensors.push_back({llama_name(weight.name, model.config()), is_bf16 ? "BF16" : "F32",
                       weight.master.sizes().vec(), alive.back().const_data_ptr()});
  }
  write_safetensors(folder + "/model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(folder + "/config.json", config.dump(2) + "\n");
}

}  // namespace gca::model
