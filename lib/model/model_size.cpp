#include "lib/model/model_size.h"

namespace gca {

double parameter_count(const ModelConfig& config) {
  const auto d = static_cast<double>(config.d_model);
  const auto ff = static_cast<double>(config.ff_size());
  const auto upper = static_cast<double>(config.n_upper_layers);
  const double layer = 2 * d + 4 * d * d + 3 * d * ff;            // two norms, attention, SwiGLU
  double count = static_cast<double>(config.vocab_size) * d + d;  // embedding, final norm
  count += (static_cast<double>(config.n_lower_layers) + upper) * layer;
  if (!config.uses_retrieval()) return count;
  const auto kv = static_cast<double>(config.n_kv_heads * config.head_dim());
  count += static_cast<double>(config.n_encoder_layers) * layer + 2 * d;  // its norms
  count += 2 * d * kv;                                                    // keys and values of chunk memory
  count += upper * (d + 2 * d * d);  // norm, wq, wo of grouped cross-attention
  return count + static_cast<double>(config.retrieval_groups) * d;
}

}  // namespace gca
