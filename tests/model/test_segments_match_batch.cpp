// Any cut of a text into segments gives the logits of one batch: training, prefill and decoding are one path.

#include <doctest/doctest.h>

#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr double kTolerance = 1e-4;

std::vector<int64_t> cut_every(int64_t length, int64_t step) {
  std::vector<int64_t> lengths;
  for (int64_t begin = 0; begin < length; begin += step) lengths.push_back(std::min(step, length - begin));
  return lengths;
}

void check_cuts(const model::ModelConfig& config, int64_t T, const std::vector<std::vector<int64_t>>& cuts) {
  const model::LanguageModel model = tiny_model(config);
  const TextBatch batch = batch_of(some_text(T, config.vocab_size), config);
  const at::Tensor whole = logits_in_segments(model, batch.ids, {batch.ids.size(1)});
  REQUIRE(whole.abs().max().item<double>() > 0.5);
  for (const auto& lengths : cuts) {
    CAPTURE(lengths.front());
    CAPTURE(T);
    CHECK(largest_difference(logits_in_segments(model, batch.ids, lengths), whole) <= kTolerance);
  }
}

}  // namespace

TEST_CASE("token by token equals one batch, around every chunk border") {
  const model::ModelConfig config = tiny_config();
  const int64_t text = config.chunk_text_size();
  for (const int64_t T :
       {int64_t{1}, int64_t{3}, text - 1, text, text + 1, 5 * text - 1, 5 * text, 5 * text + 1}) {
    const int64_t L = layout_of(config).length_of(T);
    check_cuts(config, T, {cut_every(L, 1)});
  }
}

TEST_CASE("segments of any length equal one batch") {
  const model::ModelConfig config = tiny_config();
  const int64_t T = 12 * config.chunk_text_size() + 3;
  const int64_t L = layout_of(config).length_of(T);
  check_cuts(config, T,
             {cut_every(L, 2),
              cut_every(L, 7),
              cut_every(L, 8),
              cut_every(L, 9),
              cut_every(L, 16),
              cut_every(L, 33),
              {1, 7, 8, 9, L - 25},
              {L - 1, 1}});
}

TEST_CASE("the cut does not matter for one group, reset residual, plain softmax, or K above the chunks") {
  model::ModelConfig config = tiny_config();
  config.retrieval_groups = 1;
  config.residual_blend = 1.0;
  config.softmax_off_by_one = false;
  config.chunk_top_k = 16;
  config.n_kv_heads = 4;
  const int64_t T = 6 * config.chunk_text_size();
  const int64_t L = layout_of(config).length_of(T);
  check_cuts(config, T, {cut_every(L, 1), cut_every(L, 8), cut_every(L, 11)});
}

TEST_CASE("what a random retriever draws does not depend on the cut") {
  model::ModelConfig config = tiny_config();
  config.retriever = "random";
  const int64_t T = 9 * config.chunk_text_size() + 2;
  const int64_t L = layout_of(config).length_of(T);
  check_cuts(config, T, {cut_every(L, 1), cut_every(L, 8), cut_every(L, 13)});
}

TEST_CASE("the sliding-window baseline has no landmarks and the same property") {
  model::ModelConfig config = tiny_config();
  config.long_range = "none";
  check_cuts(config, 50, {cut_every(50, 1), cut_every(50, 13)});
  const TextBatch batch = batch_of(some_text(50, config.vocab_size), config);
  CHECK(batch.ids.size(1) == 50);
}

TEST_CASE("the first chunk of a later segment reads what the last landmark before it chose") {
  const model::ModelConfig config = tiny_config();
  const model::LanguageModel model = tiny_model(config);
  const int64_t S = config.chunk_size;
  const TextBatch batch = batch_of(some_text(6 * (S - 1), config.vocab_size), config);
  const at::NoGradGuard no_grad;
  const std::unique_ptr<model::Past> past = model.begin();
  model.forward(batch.ids.narrow(1, 0, 4 * S), *past, {});
  double read = 0;
  model::ForwardOptions options;
  options.observe = [&](const std::string& name, const at::Tensor& value) {
    if (name == "upper.0.o") read = value.narrow(1, 0, S).abs().amax(-1).min().item<double>();
  };
  model.forward(batch.ids.narrow(1, 4 * S, S), *past, options);
  CHECK(read > 0);  // every position of the chunk has read something
}
