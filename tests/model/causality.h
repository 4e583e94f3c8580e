#pragma once
// Changing token j leaves every logit before j as it was, bit for bit, and changes that of its own position.

#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <vector>

#include "tests/support/tiny_model.h"

namespace gca::testing {

/// For every j of a text of T tokens.
inline void check_causality(const model::ModelConfig& config, int64_t T) {
  const model::LanguageModel model = tiny_model(config);
  const std::vector<int32_t> text = some_text(T, config.vocab_size);
  const TextBatch batch = batch_of(text, config);
  const int64_t L = batch.ids.size(1);
  const at::Tensor before = logits_in_segments(model, batch.ids, {L});
  for (int64_t j = 0; j < T; ++j) {
    CAPTURE(j);
    std::vector<int32_t> changed = text;
    changed[static_cast<size_t>(j)] =
        (changed[static_cast<size_t>(j)] + 1) % static_cast<int32_t>(config.vocab_size - 1);
    const at::Tensor after = logits_in_segments(model, batch_of(changed, config).ids, {L});
    const int64_t position = layout_of(config).position_of(j);
    CHECK(at::equal(after.narrow(1, 0, position), before.narrow(1, 0, position)));
    CHECK_FALSE(at::equal(after.select(1, position), before.select(1, position)));
  }
}

}  // namespace gca::testing
