#include "lib/model/backbones/longvq/longvq_kind.h"

#include <algorithm>

#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"codebook_size", &ModelConfig::codebook_size, "N: codes of a head, for keys beyond the window"},
};

void validate(const ModelConfig& config, const std::string& where) {
  require_positive(config.codebook_size, "codebook_size", where);
}

/// A code knows of every key that ever had it.
Reach reach(const ModelConfig& /*config*/) {
  return {};
}

/// Of the form that reads texts, in one run.
ModelCost cost(const ModelConfig& config, int64_t context) {
  const auto d = static_cast<double>(config.d_model);
  const auto dh = static_cast<double>(config.head_dim());
  const auto H = static_cast<double>(config.n_heads);
  const auto T = static_cast<double>(context);
  const auto N = static_cast<double>(config.codebook_size);
  const auto layers = static_cast<double>(config.n_upper_layers);
  const int64_t W = config.window_size;
  double code_reads = 0;  // queries that read the codes
  double key_pairs = 0;   // keys that leave the window meanwhile
  for (int64_t begin = 0; begin < context; begin += kCodePositions) {
    const int64_t end = std::min(context, begin + kCodePositions);
    const int64_t leaving = std::max<int64_t>(0, begin - W);
    const auto count = static_cast<double>(std::max<int64_t>(0, end - W - leaving - 1));
    if (leaving > 0) code_reads += static_cast<double>(end - begin);
    key_pairs += count * (count + 1) / 2;
  }
  const auto coded = static_cast<double>(std::max<int64_t>(0, context - W));
  ModelCost cost = window_layers_cost(config, config.n_lower_layers + config.n_upper_layers, context);
  cost.parameters += layers * (d * d + d + dh);
  cost.multiply_adds += layers * (d * d + (2 * code_reads * N + coded * N + 2 * key_pairs) * d / T);
  cost.decoding_weights += layers * d * d;
  cost.decoding_rows += layers * d;
  // Codes, their counts and sums of values are float32.
  if (coded > 0) cost.decoding_bytes += layers * sizeof(float) * N * (2 * d + 2 * H);
  return cost;
}

}  // namespace

const BackboneKind LongvqKind::kind = {
    .name = "longvq",
    .help = "windows, and beyond them keys by their codes (LongVQ)",
    .fields = kFields,
    .has_landmarks = false,
    .keeps_chunk_memory = false,
    .validate = validate,
    .reach = reach,
    .cost = cost,
};

}  // namespace gca::model
