#include "lib/model/backbones/rmt/rmt_kind.h"

#include <algorithm>
#include <string>

#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"memory_size", &ModelConfig::memory_size, "M: memory vectors between two segments of rmt"},
    {"segment_size", &ModelConfig::segment_size, "n: text tokens of a segment of rmt", Change::per_phase},
};

void validate(const ModelConfig& config, const std::string& where) {
  require_setting(is_size(config.memory_size), where, "memory_size is " + std::to_string(config.memory_size),
                  "give 0 or more");
  require_positive(config.segment_size, "segment_size", where);
}

Reach reach(const ModelConfig& /*config*/) {
  return {};
}

/// Pairs of a query and a key in a segment of `text` positions, read and write positions counted.
double pairs(double text, double W, double M, bool writes) {
  const double reading = M * (M + 1) / 2;
  const double writing = writes ? M * (M + text) + M * (M + 1) / 2 : 0;
  return reading + text * (M + (text > 0 ? mean_window(text, W) : 0)) + writing;
}

ModelCost cost(const ModelConfig& config, int64_t context) {
  const int64_t n = config.segment_size;
  const auto layers = config.n_lower_layers + config.n_upper_layers;
  const auto T = static_cast<double>(context);
  const auto W = static_cast<double>(config.window_size);
  const auto M = static_cast<double>(config.memory_size);
  const auto d = static_cast<double>(config.d_model);
  const int64_t whole_segments = context / n;
  const auto segments = static_cast<double>(whole_segments);
  const auto rest = static_cast<double>(context % n);
  const auto size = static_cast<double>(n);

  const ModelCost position = decoder_layers_cost(config, layers, {});
  const double positions = T + segments * 2 * M + (rest > 0 ? M : 0);
  ModelCost cost = decoder_layers_cost(
      config, layers,
      {.mean = (segments * pairs(size, W, M, true) + (rest > 0 ? pairs(rest, W, M, false) : 0)) / T,
       .at_end = std::min({W, size, T}) + M});
  cost.parameters += M * d;
  cost.multiply_adds += position.multiply_adds * (positions / T - 1);
  if (M > 0) {  // once a segment for all positions that read, and for all that write
    cost.decoding_weights *= 1 + 2 / size;
    cost.decoding_rows *= 1 + 2 / size;
  }
  return cost;
}

}  // namespace

const BackboneKind RmtKind::kind = {
    .name = "rmt",
    .help = "segments that hand memory vectors on, through all layers (Recurrent Memory Transformer)",
    .fields = kFields,
    .has_landmarks = false,
    .keeps_chunk_memory = false,
    .validate = validate,
    .reach = reach,
    .cost = cost,
};

}  // namespace gca::model
