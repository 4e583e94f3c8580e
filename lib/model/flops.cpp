// Useful work and least traffic of the model's own arithmetic: multiply-adds of matrix products and
// attention, two FLOPs each. Landmark positions, recomputation, norms and activations are not counted.

#include <algorithm>

#include "lib/model/language_model.h"

namespace gca {
namespace {

/// Mean number of keys that a position sees in a text of T: itself and at most W before it.
double mean_window(double T, double W) {
  if (T <= W + 1) return (T + 1) / 2;
  return ((W + 1) * (W + 2) / 2 + (T - W - 1) * (W + 1)) / T;
}

/// Mean number of chunks that a chunk reads: chunk u of C has u - 1 candidates.
double mean_chunks_read(int64_t C, int64_t K) {
  double sum = 0;
  for (int64_t u = 0; u < std::min(C, K + 1); ++u) sum += static_cast<double>(std::max<int64_t>(0, u - 1));
  sum += static_cast<double>(std::max<int64_t>(0, C - K - 1)) * static_cast<double>(K);
  return C > 0 ? sum / static_cast<double>(C) : 0.0;
}

}  // namespace

double LanguageModel::forward_flops_per_token(int64_t context) const {
  const auto d = static_cast<double>(config_.d_model);
  const auto ff = static_cast<double>(config_.d_ff);
  const auto V = static_cast<double>(config_.vocab_size);
  const double window = mean_window(static_cast<double>(context), static_cast<double>(config_.window_size));
  const double layer_products = 4 * d * d + 3 * d * ff;
  const double decoder_layers = static_cast<double>(config_.n_lower_layers + config_.n_upper_layers);
  double multiply_adds = decoder_layers * (layer_products + 2 * window * d) + V * d;
  if (config_.uses_retrieval()) {
    const auto S = static_cast<double>(config_.chunk_size);
    const auto kv = static_cast<double>(config_.n_kv_heads * config_.head_dim());
    const int64_t C = context / config_.chunk_text_size();
    const double read = mean_chunks_read(C, config_.chunk_top_k) * (S - 1);
    multiply_adds += static_cast<double>(config_.n_upper_layers) * (2 * d * d + 2 * read * d);
    multiply_adds +=
        static_cast<double>(config_.n_encoder_layers) * (layer_products + 2 * S * d) + 2 * d * kv;
    // Scores of one landmark against C / 2 earlier ones on average, shared by the S - 1 tokens of a chunk.
    multiply_adds += static_cast<double>(config_.retrieval_groups) * d * static_cast<double>(C) / 2 / (S - 1);
  }
  return 2 * multiply_adds;
}

double LanguageModel::decoding_bytes_per_token(int64_t context) const {
  const auto d = static_cast<double>(config_.d_model);
  const auto ff = static_cast<double>(config_.d_ff);
  const auto V = static_cast<double>(config_.vocab_size);
  const double layer = 4 * d * d + 3 * d * ff;
  const double decoder_layers = static_cast<double>(config_.n_lower_layers + config_.n_upper_layers);
  const double window = std::min(static_cast<double>(config_.window_size), static_cast<double>(context));
  double elements = decoder_layers * (layer + 2 * window * d) + V * d;
  double landmark_bytes = 0;
  if (config_.uses_retrieval()) {
    const auto text_size = static_cast<double>(config_.chunk_text_size());
    const auto kv = static_cast<double>(config_.n_kv_heads * config_.head_dim());
    const int64_t C = context / config_.chunk_text_size();
    const auto read = static_cast<double>(std::min(C, config_.chunk_top_k)) * text_size;
    elements += static_cast<double>(config_.n_upper_layers) * (2 * d * d + 2 * read * kv);
    const double encoder = static_cast<double>(config_.n_encoder_layers) * layer + 2 * d * kv;
    elements += encoder / text_size;
    landmark_bytes = static_cast<double>(config_.retrieval_groups * C) * d / text_size;  // of the int8 copy
  }
  return elements * static_cast<double>(c10::elementSize(compute_dtype_)) + landmark_bytes;
}

}  // namespace gca
