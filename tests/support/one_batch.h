#pragma once
// The independent truth for everything that feeds text to a model piece by piece: one batch, laid out by hand.

#include <ATen/ops/tensor.h>
#include <span>

#include "tests/support/tiny_model.h"

namespace gca::testing {

/// Logits (T, V) float64 of the text positions of `text`, run as one batch.
inline at::Tensor one_batch_logits(const model::LanguageModel& model, std::span<const int32_t> text,
                                   const model::ForwardOptions& options = {}) {
  const at::NoGradGuard no_grad;
  const model::ModelConfig& config = model.config();
  std::vector<int64_t> ids, rows;
  for (const int32_t id : text) {
    rows.push_back(static_cast<int64_t>(ids.size()));
    ids.push_back(id);
    const bool is_last_of_chunk =
        static_cast<int64_t>(ids.size()) % config.chunk_size == config.chunk_size - 1;
    if (model::backbone_kind(config).has_landmarks && is_last_of_chunk) ids.push_back(config.landmark_id);
  }
  const std::unique_ptr<model::Past> past = model.begin();
  const at::Tensor hidden = model.forward(at::tensor(ids, at::kLong).unsqueeze(0), *past, options);
  return model.logits(hidden.index_select(1, at::tensor(rows, at::kLong))).squeeze(0).to(at::kDouble);
}

}  // namespace gca::testing
