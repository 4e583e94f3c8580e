#include "lib/inspect/token_losses.h"

#include <ATen/ops/log_softmax.h>

#include <cmath>

#include "lib/model/text_feeder.h"
#include "tests/support/doctest.h"
#include "tests/support/one_batch.h"

using namespace gca;
using namespace gca::testing;

TEST_CASE("losses of tokens are those of the logits of one batch, whatever the segments") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 5);
  const std::vector<int32_t> text = some_text(7 * 9 + 4, 40);
  for (const model::Retriever retriever : {model::Retriever::learned, model::Retriever::none}) {
    model::ForwardOptions options;
    options.retriever = retriever;
    const at::Tensor log_p = at::log_softmax(one_batch_logits(model, text, options).to(at::kDouble), -1);
    REQUIRE(log_p.size(-2) == static_cast<int64_t>(text.size()));  // a row a text token
    for (const int64_t segment : {8, 24, 0}) {
      CAPTURE(segment);
      const std::vector<float> losses = inspect::token_losses(model, text, retriever, segment);
      REQUIRE(losses.size() == text.size());
      CHECK(losses[0] == 0.0F);
      for (size_t i = 1; i < text.size(); ++i) {
        const double expected =
            -log_p.reshape({-1, log_p.size(-1)})[static_cast<int64_t>(i) - 1][text[i]].item<double>();
        CHECK(std::abs(losses[i] - expected) < 1e-4);
      }
    }
  }
}

TEST_CASE("losses after a past are those of the end of the whole text") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 6);
  const std::vector<int32_t> text = some_text(7 * 19 + 3, 40);
  const std::vector<float> whole = inspect::token_losses(model, text, model::Retriever::learned);
  model::TextFeeder feeder(model, {}, 16);
  feeder.feed(std::span(text).first(7 * 9), [](const at::Tensor&, int64_t) {});
  const std::vector<float> after = inspect::token_losses(model, std::span(text).subspan(7 * 9),
                                                         model::Retriever::learned, 24, feeder.take_past());
  REQUIRE(after.size() == text.size() - 63);
  CHECK(after[0] == 0.0F);
  for (size_t i = 1; i < after.size(); ++i) CHECK(std::abs(after[i] - whole[i + 63]) < 1e-4);
}
