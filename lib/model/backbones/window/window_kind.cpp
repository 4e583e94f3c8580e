#include "lib/model/backbones/window/window_kind.h"

namespace gca::model {
namespace {

void validate(const ModelConfig& /*config*/, const std::string& /*where*/) {}

Reach reach(const ModelConfig& config) {
  const int64_t W = config.window_size;
  return {.upper = config.n_upper_layers * W, .text = (config.n_lower_layers + config.n_upper_layers) * W};
}

ModelCost cost(const ModelConfig& config, int64_t context) {
  return window_layers_cost(config, config.n_lower_layers + config.n_upper_layers, context);
}

}  // namespace

const BackboneKind WindowKind::kind = {
    .name = "none",
    .help = "sliding-window attention alone, the baseline",
    .fields = {},
    .has_landmarks = false,
    .keeps_chunk_memory = false,
    .validate = validate,
    .reach = reach,
    .cost = cost,
    .text_sharing = TextSharing::in_order,
};

}  // namespace gca::model
