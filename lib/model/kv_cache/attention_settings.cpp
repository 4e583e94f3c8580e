#include "lib/model/kv_cache/attention_settings.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

namespace gca::model {

AttentionSettings AttentionSettings::of(const ModelConfig& config, at::ScalarType dtype, KvDtype kv_dtype) {
  return {.angles = std::make_shared<const RotaryAngles>(config, dtype),
          .slopes = config.position == "alibi" ? at::tensor(config.slopes(), at::kDouble).to(dtype)
                                               : at::zeros({config.n_heads}, dtype),
          .scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim())),
          .layers = config.n_lower_layers + config.n_upper_layers,
          .heads = config.n_heads,
          .kv_heads = config.n_kv_heads,
          .head_dim = config.head_dim(),
          .kv_dtype = kv_dtype};
}

}  // namespace gca::model
