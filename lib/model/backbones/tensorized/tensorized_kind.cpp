#include "lib/model/backbones/tensorized/tensorized_kind.h"

#include <algorithm>
#include <string>

#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"tensor_fold", &ModelConfig::tensor_fold,
     "t_1, t_2, ..: steps of each hop over strides 1, t_1, t_1 t_2, ..; the last may be 0: no end"},
    {"upper_alibi_slopes", &ModelConfig::upper_alibi_slopes,
     "one slope a head of the upper layers; empty: as alibi_slopes"},
};

void validate(const ModelConfig& config, const std::string& where) {
  const std::vector<int64_t>& fold = config.tensor_fold;
  require_setting(!fold.empty(), where, "tensor_fold is empty", "give a list such as [128, 128]");
  int64_t stride = 1;
  for (size_t r = 0; r < fold.size(); ++r) {
    require_setting(fold[r] > 0 || (fold[r] == 0 && r + 1 == fold.size()), where,
                    "tensor_fold has the entry " + std::to_string(fold[r]),
                    "give whole numbers of 1 or more; only the last may be 0, which has no end");
    require_setting(is_size(fold[r]) && is_size(stride * std::max<int64_t>(fold[r], 1)), where,
                    "tensor_fold reaches too far", "give folds whose product is below 2G");
    stride *= std::max<int64_t>(fold[r], 1);
  }
}

Reach reach(const ModelConfig& config) {
  int64_t layer = 0;
  int64_t stride = 1;
  for (const int64_t steps : config.tensor_fold) {
    if (steps == 0) return {};
    layer += (steps - 1) * stride;
    stride *= steps;
  }
  const int64_t upper = config.n_upper_layers * layer;
  return {.upper = upper, .text = upper + config.n_lower_layers * config.window_size};
}

/// Mean number of keys of a hop: position i of T has i / stride + 1 of them, and sees `most` at most.
double mean_steps(int64_t T, int64_t stride, int64_t most) {
  const int64_t whole_rounds = T / stride;
  const auto rounds = static_cast<double>(whole_rounds);
  const auto rest = static_cast<double>(T % stride);
  const auto limit = static_cast<double>(most);
  const double whole = rounds > 0 ? rounds * mean_window(rounds, limit - 1) : 0;
  return (whole * static_cast<double>(stride) + rest * std::min(rounds + 1, limit)) / static_cast<double>(T);
}

ModelCost cost(const ModelConfig& config, int64_t context) {
  KeysRead keys;
  int64_t stride = 1;
  for (const int64_t steps : config.tensor_fold) {
    const int64_t most = steps > 0 ? steps : context;
    keys.mean += mean_steps(context, stride, most);
    keys.at_end += static_cast<double>(std::min(most, (context + stride - 1) / stride));
    stride *= most;
  }
  ModelCost cost = window_layers_cost(config, config.n_lower_layers, context);
  cost += decoder_layers_cost(config, config.n_upper_layers, keys);
  return cost;
}

}  // namespace

const BackboneKind TensorizedKind::kind = {
    .name = "tensorized",
    .help = "attention in several hops over growing strides (tensorized attention)",
    .fields = kFields,
    .has_landmarks = false,
    .keeps_chunk_memory = false,
    .validate = validate,
    .reach = reach,
    .cost = cost,
};

}  // namespace gca::model
