// Changing token j leaves every logit before j as it was, bit for bit.

#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include "tests/model/causality.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

TEST_CASE("no logit depends on a later token") {
  model::ModelConfig config = tiny_config();
  check_causality(config, 6 * config.chunk_text_size() + 2);
  config.chunk_top_k = 9;  // more slots than chunks
  config.softmax_off_by_one = false;
  check_causality(config, 4 * config.chunk_text_size());
}

TEST_CASE("the baseline is causal and sees exactly its windows") {
  model::ModelConfig config = tiny_config();
  config.long_range = "none";
  config.n_lower_layers = 1;
  config.n_upper_layers = 1;
  config.window_size = 3;
  check_causality(config, 20);
  // Two layers of window 3 see 6 positions back, and no further.
  const model::LanguageModel model = tiny_model(config);
  std::vector<int32_t> text = some_text(20, config.vocab_size);
  const at::Tensor before = logits_in_segments(model, batch_of(text, config).ids, {20});
  text[5] = (text[5] + 1) % static_cast<int32_t>(config.vocab_size - 1);
  const at::Tensor after = logits_in_segments(model, batch_of(text, config).ids, {20});
  CHECK_FALSE(at::equal(after.select(1, 11), before.select(1, 11)));
  CHECK(at::equal(after.narrow(1, 12, 8), before.narrow(1, 12, 8)));
}

TEST_CASE("a chunk far beyond every window is reached through retrieval") {
  model::ModelConfig config = tiny_config();
  config.window_size = 4;
  config.n_lower_layers = 1;
  config.n_upper_layers = 2;
  config.chunk_top_k = 16;  // everything is read
  const model::LanguageModel model = tiny_model(config);
  std::vector<int32_t> text = some_text(10 * config.chunk_text_size(), config.vocab_size);
  const int64_t L = layout_of(config).length_of(static_cast<int64_t>(text.size()));
  const at::Tensor before = logits_in_segments(model, batch_of(text, config).ids, {L});
  text[2] = (text[2] + 1) % static_cast<int32_t>(config.vocab_size - 1);
  const at::Tensor after = logits_in_segments(model, batch_of(text, config).ids, {L});
  CHECK_FALSE(at::equal(after.select(1, L - 1), before.select(1, L - 1)));
}
