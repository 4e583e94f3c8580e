#include "lib/model/backbones/landmark/landmark_kind.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"chunk_top_k", &ModelConfig::chunk_top_k, "K: blocks that a position and head reads at inference",
     Change::per_phase},
    {"landmark_local_size", &ModelConfig::landmark_local_size,
     "P: positions of a local segment at inference, a multiple of chunk_size", Change::per_phase},
    {"landmark_selection", &ModelConfig::landmark_selection,
     "who chooses the blocks that landmark attention reads: head, each for itself; all_heads, together"},
    {"landmark_positions", &ModelConfig::landmark_positions,
     "slots: landmark attention rotates queries and keys, those of chosen blocks to slots; none: no "
     "positions"},
    {"rope_theta", &ModelConfig::rope_theta, "rotary base"},
};

void validate(const ModelConfig& config, const std::string& where) {
  const int64_t S = config.chunk_size;
  const int64_t P = config.landmark_local_size;
  require_positive(config.chunk_top_k, "chunk_top_k", where);
  require_positive(P, "landmark_local_size", where);
  require_setting(
      P % S == 0, where,
      "landmark_local_size " + std::to_string(P) + " is no multiple of chunk_size " + std::to_string(S),
      "give " + std::to_string((P + S - 1) / S * S));
  require_setting(config.landmark_selection == "head" || config.landmark_selection == "all_heads", where,
                  "landmark_selection is \"" + config.landmark_selection + "\"", "use head or all_heads");
  require_setting(config.landmark_positions == "slots" || config.landmark_positions == "none", where,
                  "landmark_positions is \"" + config.landmark_positions + "\"", "use slots or none");
  require_setting(config.rope_theta > 0, where, "rope_theta is not positive");
}

Reach reach(const ModelConfig& /*config*/) {
  return {};
}

/// Sum over g < count of min(most, g * step).
double capped_sum(double count, double step, double most) {
  const double below = std::min(count, std::ceil(most / step));  // as many are not capped
  return step * below * (below - 1) / 2 + most * (count - below);
}

/// Of the form that inference has: what it reads in local segments of P, K blocks before, and scores of
/// landmarks.
ModelCost cost(const ModelConfig& config, int64_t context) {
  const auto d = static_cast<double>(config.d_model);
  const auto S = static_cast<double>(config.chunk_size);
  const auto K = static_cast<double>(config.chunk_top_k);
  const auto P = static_cast<double>(config.landmark_local_size);
  const int64_t landmarks = context / config.chunk_text_size();
  const auto L = static_cast<double>(context + landmarks);
  const double blocks = P / S;                // of a segment
  const double segments = std::floor(L / P);  // whole ones; the last has `rest` positions
  const double rest = L - segments * P;
  const double cached = segments * blocks;  // blocks before the last segment
  const double local = (segments * P * (P + 1) + rest * (rest + 1)) / 2 / L;
  const double chosen = (capped_sum(segments, blocks, K) * P + std::min(K, cached) * rest) / L;
  // Landmarks are ranked where there are more than K.
  const double unranked = std::min(segments, std::floor(K / blocks) + 1);
  const double ranked = blocks * (segments * (segments - 1) - unranked * (unranked - 1)) / 2;
  const double scores = (ranked * P + (cached > K ? cached * rest : 0)) / L;

  const auto layers = static_cast<double>(config.n_upper_layers);
  ModelCost cost = window_layers_cost(config, config.n_lower_layers, context);
  const double read_at_end = std::min(L, P) / 2 + std::min(K, cached) * S;
  cost += decoder_layers_cost(config, config.n_upper_layers,
                              {.mean = local + chosen * (S - 1), .at_end = read_at_end});
  cost.multiply_adds += layers * scores * d;
  cost.decoding_elements += layers * cached * d;
  return cost;
}

std::vector<Reader> readers(const ModelConfig& config) {
  std::vector<Reader> heads;
  for (int64_t layer = 0; layer < config.n_upper_layers; ++layer)
    for (int64_t head = 0; head < config.n_heads; ++head) heads.push_back({layer, head});
  return heads;
}

}  // namespace

const BackboneKind LandmarkKind::kind = {
    .name = "landmark",
    .help = "attention that finds blocks by their landmarks (landmark attention)",
    .fields = kFields,
    .has_landmarks = true,
    .keeps_chunk_memory = false,
    .validate = validate,
    .reach = reach,
    .cost = cost,
    .choice_unit = ChoiceUnit::block,
    .readers = readers,
};

}  // namespace gca::model
