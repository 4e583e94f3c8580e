#include "lib/model/backbones/longvq/longvq_kind.h"

#include <algorithm>

#include "lib/model/backbones/longvq/code_blocks.h"
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
  double code_reads = 0;  // positions that read the codes
  double key_pairs = 0;   // positions with keys that leave the window meanwhile
  for_each_code_block(0, context, config.window_size, [&](const CodeBlock& block) {
    const auto late = static_cast<double>(block.late_positions());
    if (block.reads_codes()) code_reads += static_cast<double>(block.end - block.begin);
    key_pairs += late * (late + 1) / 2;
  });
  const auto coded = static_cast<double>(std::max<int64_t>(0, context - config.window_size));
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
    .crosses_rows = true,  // the codes follow the keys of all rows
};

}  // namespace gca::model
