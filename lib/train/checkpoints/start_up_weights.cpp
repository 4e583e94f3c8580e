#include "lib/train/checkpoints/start_up_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <filesystem>
#include <vector>

#include "lib/core/error.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/model/weight_files.h"

namespace gca::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEmbedding = "tok_emb";
constexpr const char* kRemedy = "give start-up weights of a model with the same sizes, or --start-up none";

/// What a new embedding is drawn from, (d) each, float32.
struct EmbeddingStatistics {
  at::Tensor mean;
  at::Tensor deviation;
  at::Tensor landmark;
};

EmbeddingStatistics read_statistics(const SafetensorsFile& file, const model::ModelConfig& config) {
  const std::string name = kEmbedding;
  const int64_t d = config.d_model;
  if (file.entries().find(name) == file.entries().end()) {
    const auto part = [&](const char* what) { return model::read_tensor(file, name + what, {d}, kRemedy); };
    return {part(".mean"), part(".deviation"), part(".landmark")};
  }
  const at::Tensor rows = model::read_tensor(file, name, {config.vocab_size, d}, kRemedy).to(at::kDouble);
  const int64_t landmark = config.resolved_landmark_id();
  const at::Tensor text = at::cat({rows.slice(0, 0, landmark), rows.slice(0, landmark + 1)});
  return {text.mean(0).to(at::kFloat), text.std(0, /*unbiased=*/false).to(at::kFloat),
          rows[landmark].to(at::kFloat)};
}

/// Do weights of the one fit the other, whatever their vocabularies?
bool have_same_weights(const model::ModelConfig& a, const model::ModelConfig& b) {
  // What a model computes with the same weights: everything but what data and training decide.
  const auto sizes = [](model::ModelConfig config) {
    const model::ModelConfig defaults;
    config.vocab_size = defaults.vocab_size;
    config.landmark_id = defaults.landmark_id;
    config.init_std = defaults.init_std;
    config.output_init_scale = defaults.output_init_scale;
    config.d_ff = config.ff_size();
    config.alibi_slopes = config.slopes();
    copy_changing_fields(config, model::model_config_fields(), defaults);
    return model::model_config_to_json(config);
  };
  return sizes(a) == sizes(b);
}

}  // namespace

std::string find_start_up(const std::string& root, const model::ModelConfig& config) {
  std::error_code missing;
  for (const fs::directory_entry& entry : fs::directory_iterator(root, missing))
    if (have_same_weights(model::read_model_config(entry.path().string()), config))
      return entry.path().string();
  return "";
}

void load_start_up(const std::string& folder, model::LanguageModel& model, uint64_t seed) {
  const at::NoGradGuard no_grad;
  model::require_sound_model_files(folder);
  const model::ModelConfig source = model::read_model_config(folder);
  const SafetensorsFile file(folder + "/model.safetensors");
  if (!have_same_weights(source, model.config()))
    fail_usage(folder, "has weights of a model with other sizes", kRemedy);
  const EmbeddingStatistics statistics = read_statistics(file, source);
  model.initialise(seed);
  for (model::Weight& weight : model.weights()) {
    if (weight.name != kEmbedding) {
      weight.master.copy_(model::read_tensor(file, weight.name, weight.master.sizes().vec(), kRemedy));
      continue;
    }
    // initialise() drew normal(0, init_std).
    const double drawn = model.config().init_std;
    const at::Device device = weight.master.device();
    weight.master.mul_(statistics.deviation.to(device) * (drawn > 0 ? 1 / drawn : 0.0))
        .add_(statistics.mean.to(device));
    weight.master[model.config().resolved_landmark_id()].copy_(statistics.landmark);
  }
  model.refresh_compute_weights();
}

}  // namespace gca::train
