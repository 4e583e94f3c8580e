#pragma once
// Small models with large random weights, so that every path moves the result.

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <vector>

#include "lib/data/chunk_layout.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/language_model.h"

namespace gca::testing {

inline model::ModelConfig tiny_config() {
  model::ModelConfig config;
  config.vocab_size = 40;
  config.d_model = 32;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.d_ff = 48;
  config.n_lower_layers = 2;
  config.n_upper_layers = 3;
  config.retrieval_groups = 2;
  config.n_encoder_layers = 1;
  config.window_size = 10;
  config.chunk_size = 8;
  config.chunk_top_k = 2;
  config.landmark_local_size = 16;
  config.memory_size = 3;
  config.segment_size = 12;
  config.memory_layers = {1};
  config.local_context_size = 4;
  config.memory_top_k = 5;
  config.tensor_fold = {4, 3};
  config.codebook_size = 6;
  config.recurrent_heads = {1, 4, 5, 6, 7, 11};
  config.recurrent_state_size = 3;
  config.recurrent_rank = 2;
  config.init_std = 0.15;
  return config;
}

inline model::LanguageModel tiny_model(const model::ModelConfig& config, at::ScalarType dtype = at::kFloat,
                                       uint64_t seed = 1,
                                       model::WeightDtype weight_dtype = model::WeightDtype::compute) {
  model::LanguageModel model(config, dtype, at::kCPU, weight_dtype);
  model.initialise(seed);
  return model;
}

/// T text tokens, a fixed pseudo-random sequence that never is the landmark (the last id).
inline std::vector<int32_t> some_text(int64_t T, int64_t vocab_size, uint32_t seed = 1) {
  std::vector<int32_t> text;
  uint32_t state = seed * 2654435761U + 12345U;
  for (int64_t i = 0; i < T; ++i) {
    state = state * 1664525U + 1013904223U;
    text.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab_size - 1)));
  }
  return text;
}

struct TextBatch {
  at::Tensor ids;      // (1, L)
  at::Tensor targets;  // (1, L)
};

inline data::ChunkLayout layout_of(const model::ModelConfig& config) {
  if (!model::backbone_kind(config).has_landmarks) return {};
  return {.chunk_size = config.chunk_size, .landmark_id = config.vocab_size - 1};
}

inline TextBatch batch_of(const std::vector<int32_t>& text, const model::ModelConfig& config) {
  const data::LaidOutText laid_out = data::lay_out(text, data::kNoTarget, layout_of(config));
  return {at::tensor(laid_out.ids, at::kLong).unsqueeze(0),
          at::tensor(laid_out.targets, at::kLong).unsqueeze(0)};
}

/// Logits (1, L, V) of ids (1, L) run in segments of the given lengths.
inline at::Tensor logits_in_segments(const model::LanguageModel& model, const at::Tensor& ids,
                                     const std::vector<int64_t>& lengths,
                                     const model::ForwardOptions& options = {}) {
  const at::NoGradGuard no_grad;
  const std::unique_ptr<model::Past> past = model.begin();
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    parts.push_back(model.logits(model.forward(ids.narrow(1, begin, length), *past, options)));
    begin += length;
  }
  return at::cat(parts, 1);
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble).sub(b.to(at::kDouble))).abs().max().item<double>();
}

}  // namespace gca::testing
