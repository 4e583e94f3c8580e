#include "lib/model/backbones/fot/fot_kind.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"memory_layers", &ModelConfig::memory_layers, "numbers of the upper layers that read memory, from 0"},
    {"local_context_size", &ModelConfig::local_context_size, "positions of a local context of memory layers",
     Change::per_phase},
    {"memory_top_k", &ModelConfig::memory_top_k,
     "keys of the memory that a position and head reads at inference; 0: all", Change::per_phase},
};

void validate(const ModelConfig& config, const std::string& where) {
  std::set<int64_t> seen;
  for (const int64_t layer : config.memory_layers)
    require_setting(layer >= 0 && layer < config.n_upper_layers && seen.insert(layer).second, where,
                    "memory_layers names upper layer " + std::to_string(layer),
                    "give each of 0 to num_upper_layers - 1 once at most");
  require_positive(config.local_context_size, "local_context_size", where);
  require_setting(is_size(config.memory_top_k), where,
                  "memory_top_k is " + std::to_string(config.memory_top_k),
                  "give 0 for all keys, or how many");
}

Reach reach(const ModelConfig& config) {
  if (!config.memory_layers.empty()) return {};
  const int64_t W = config.window_size;
  return {.upper = config.n_upper_layers * W, .text = (config.n_lower_layers + config.n_upper_layers) * W};
}

/// Of the form that inference has: the local context, and of the memory top_k keys, or all where there are no
/// more.
ModelCost cost(const ModelConfig& config, int64_t context) {
  const auto d = static_cast<double>(config.d_model);
  const auto T = static_cast<double>(context);
  const auto n = static_cast<double>(config.local_context_size);
  const auto memory_layers = static_cast<int64_t>(config.memory_layers.size());
  const double contexts = std::floor(T / n);  // whole ones; the last has `rest` positions
  const double rest = T - contexts * n;
  const double K = config.memory_top_k > 0 ? static_cast<double>(config.memory_top_k) : T;
  const double dense = std::min(contexts, std::floor(K / n) + 1);  // contexts whose memory is read whole
  const bool last_is_dense = contexts * n <= K;
  const double local = (contexts * n * (n + 1) + rest * (rest + 1)) / 2 / T;
  const double whole = (n * n * dense * (dense - 1) / 2 + (last_is_dense ? contexts * n * rest : 0)) / T;
  const double chosen = (K * n * (contexts - dense) + (last_is_dense ? 0 : K * rest)) / T;
  const double scored = (n * n * (contexts * (contexts - 1) - dense * (dense - 1)) / 2 +
                         (last_is_dense ? 0 : contexts * n * rest)) /
                        T;

  ModelCost cost =
      window_layers_cost(config, config.n_lower_layers + config.n_upper_layers - memory_layers, context);
  cost += decoder_layers_cost(config, memory_layers,
                              {.mean = local + whole, .at_end = std::min(T, n) / 2 + std::min(K, T)});
  const auto layers = static_cast<double>(memory_layers);
  cost.multiply_adds += layers * (scored + chosen) * d;  // scores of all, values of the chosen
  if (!last_is_dense) cost.decoding_elements += layers * contexts * n * d;
  return cost;
}

std::vector<Reader> readers(const ModelConfig& config) {
  std::vector<Reader> heads;
  for (const int64_t layer : config.memory_layers)
    for (int64_t head = 0; head < config.n_heads; ++head) heads.push_back({layer, head});
  return heads;
}

}  // namespace

const BackboneKind FotKind::kind = {
    .name = "fot",
    .help = "some upper layers read keys of the whole past (Focused Transformer)",
    .fields = kFields,
    .has_landmarks = false,
    .keeps_chunk_memory = false,
    .validate = validate,
    .reach = reach,
    .cost = cost,
    .choice_unit = ChoiceUnit::position,
    .readers = readers,
    .crosses_rows = true,
};

}  // namespace gca::model
