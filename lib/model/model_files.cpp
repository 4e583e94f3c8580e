// model.safetensors and config.json, the model's part of a checkpoint.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <fmt/format.h>
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/model/foreign_config_keys.h"
#include "lib/model/language_model.h"
#include "lib/model/llama/llama_config.h"
#include "lib/model/llama/llama_files.h"
#include "lib/model/model_cost.h"
#include "lib/model/weight_files.h"
#include "lib/text/tokenizer_file.h"

namespace gca::model {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

/// What weights may be stored as, by the names of safetensors.
const std::map<std::string, at::ScalarType> kReadableTypes = {
    {"F32", at::kFloat}, {"BF16", at::kBFloat16}, {"F16", at::kHalf}};

constexpr const char* kConfigKey = "gca.config";
constexpr const char* kTokenizerKey = "gca.tokenizer";

/// Of what a config.json says of the model, however it is spaced and ordered and whatever other programs added.
std::string fingerprint_of(const nlohmann::json& config) {
  nlohmann::json settings = config;
  for (const std::string& key : foreign_config_keys()) settings.erase(key);
  settings.update(nlohmann::json(model_config_preamble()));
  return sha256_hex(settings.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

nlohmann::json read_config(const std::string& path) {
  nlohmann::json json = nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) fail_usage(path, "is not a JSON object", "give a checkpoint folder that gca wrote");
  return json;
}

/// The output projection is the embedding: a copy of it that other programs save under a name of its own adds
/// nothing.
bool is_tied_output(const SafetensorsFile& file, const std::string& name) {
  if (name != "lm_head.weight") return false;
  const auto embedding = file.entries().find("tok_emb");
  if (embedding == file.entries().end()) return false;
  const SafetensorsEntry& output = file.at(name);
  if (output.dtype != embedding->second.dtype || output.shape != embedding->second.shape) return false;
  if (std::equal(output.data, output.data + output.size_bytes, embedding->second.data)) return true;
  fail_usage(file.path(), name + " differs from tok_emb, and in this model the two are one",
             "train with tied embeddings, or leave " + name + " out");
}

/// A model is made by its configuration before its weights are read: there must be as many as it asks for.
/// (Which one is too many is told by its name when the others are read.)
void require_weight_count(const SafetensorsFile& file, const ModelConfig& config,
                          const std::string& config_path) {
  double held = 0;
  for (const auto& [name, entry] : file.entries()) {
    if (is_tied_output(file, name)) continue;
    double size = 1;
    for (const int64_t extent : entry.shape) size *= static_cast<double>(extent);
    held += size;
  }
  if (held < parameter_count(config))
    fail_usage(
        config_path,
        fmt::format("asks for {:.0f} weights, {} holds {:.0f}", parameter_count(config), file.path(), held),
        "restore the config.json that belongs to these weights");
}

}  // namespace

void save_model(const LanguageModel& model, const ModelConfig& config, const std::string& folder,
                const std::string& tokenizer_fingerprint) {
  std::vector<SafetensorsTensor> tensors;
  std::vector<at::Tensor> alive;
  for (const Weight& weight : model.weights()) {
    alive.push_back(weight.master.detach().to(at::kCPU, at::kFloat).contiguous());
    tensors.push_back({weight.name, "F32", weight.master.sizes().vec(), alive.back().const_data_ptr()});
  }
  const std::string config_text = model_config_to_json(config).dump(2);
  std::map<std::string, std::string> metadata = {
      {"format", "pt"}, {kConfigKey, fingerprint_of(nlohmann::json::parse(config_text))}};
  if (!tokenizer_fingerprint.empty()) metadata[kTokenizerKey] = tokenizer_fingerprint;
  write_safetensors(folder + "/model.safetensors", tensors, metadata);
  write_file_atomically(folder + "/config.json", config_text + "\n");
}

void save_model(const LanguageModel& model, const std::string& folder,
                const std::string& tokenizer_fingerprint) {
  save_model(model, model.config(), folder, tokenizer_fingerprint);
}

ModelConfig read_model_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  const nlohmann::json json = read_config(path);
  return is_foreign_config(json) ? llama_config_from_json(json, path) : model_config_from_json(json, path);
}

void require_sound_model_files(const std::string& folder) {
  if (is_foreign_config(read_config(folder + "/config.json"))) return;  // records nothing of itself
  const SafetensorsFile file(folder + "/model.safetensors");
  file.verify();
  const auto require = [&](const char* key, const char* name, const auto& fingerprint_of_file) {
    const auto expected = file.metadata().find(key);
    if (expected == file.metadata().end()) return;
    const std::string path = folder + "/" + name;
    if (fingerprint_of_file(path) != expected->second)
      fail_usage(path, "is not the one that model.safetensors beside it was saved with",
                 "restore the original file");
  };
  require(kConfigKey, "config.json",
          [](const std::string& path) { return fingerprint_of(read_config(path)); });
  const std::string tokenizer = std::filesystem::path(text::find_tokenizer_file(folder)).filename().string();
  require(kTokenizerKey, tokenizer.c_str(),
          [](const std::string& path) { return sha256_hex(read_file(path)); });
}

namespace {

/// As it is stored.
at::Tensor stored_tensor(const SafetensorsFile& file, const std::string& name,
                         const std::vector<int64_t>& shape, const std::string& remedy) {
  const SafetensorsEntry& entry = file.at(name);
  if (entry.shape != shape)
    fail_usage(file.path(),
               fmt::format("{} has shape {}, not {}", name, shape_text(entry.shape), shape_text(shape)),
               remedy);
  const auto stored = kReadableTypes.find(entry.dtype);
  if (stored == kReadableTypes.end())
    fail_usage(file.path(), name + " is of type " + entry.dtype, "F32, BF16 and F16 can be read");
  at::Tensor values = at::empty(shape, stored->second);
  std::copy_n(entry.data, entry.size_bytes, static_cast<std::byte*>(values.mutable_data_ptr()));
  return values;
}

}  // namespace

at::Tensor read_tensor(const SafetensorsFile& file, const std::string& name,
                       const std::vector<int64_t>& shape, const std::string& remedy) {
  return stored_tensor(file, name, shape, remedy).to(at::kFloat);
}

void copy_tensor(const SafetensorsFile& file, const std::string& name, const std::string& remedy,
                 at::Tensor& to) {
  to.copy_(stored_tensor(file, name, to.sizes().vec(), remedy));
}

void read_weights(const SafetensorsFile& file, LanguageModel& model, const std::string& remedy) {
  const at::NoGradGuard no_grad;
  for (Weight& weight : model.weights())
    weight.master.copy_(read_tensor(file, weight.name, weight.master.sizes().vec(), remedy));
  std::set<std::string> known;
  for (const Weight& weight : model.weights()) known.insert(weight.name);
  for (const auto& [name, entry] : file.entries())
    if (!known.contains(name) && !is_tied_output(file, name))
      fail_usage(file.path(),
                 fmt::format("holds the tensor {} {}, which this model does not have", name,
                             shape_text(entry.shape)),
                 remedy);
  model.refresh_compute_weights();
}

LanguageModel load_model(const std::string& folder, at::ScalarType compute_dtype, at::Device device,
                         WeightDtype weight_dtype, Masters masters_of_llama) {
  const std::string config_path = folder + "/config.json";
  const nlohmann::json json = read_config(config_path);
  if (is_foreign_config(json))
    return load_llama(folder, compute_dtype, device, weight_dtype, masters_of_llama);
  require_sound_model_files(folder);
  const ModelConfig config = model_config_from_json(json, config_path);
  const SafetensorsFile file(folder + "/model.safetensors");
  require_weight_count(file, config, config_path);
  LanguageModel model(config, compute_dtype, device, weight_dtype);
  read_weights(
      file, model,
      "leave out what is not part of this model, or restore the config.json that belongs to these weights");
  return model;
}

}  // namespace gca::model
