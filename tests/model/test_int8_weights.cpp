// Models with int8 weights: the same model as one whose bf16 weights are those numbers, and close to the model
// that was trained.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/common/implementation.h"
#include "lib/model/text_feeder.h"
#include "lib/model/text_model.h"
#include "tests/support/doctest.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;
using kernels::Implementation;
using kernels::ImplementationGuard;

namespace {

/// The same masters, and what products read are int8's numbers, in bf16.
model::LanguageModel with_these_numbers(const model::LanguageModel& int8_model) {
  const at::NoGradGuard no_grad;
  model::LanguageModel model(int8_model.config(), at::kBFloat16);
  for (size_t i = 0; i < model.weights().size(); ++i) {
    model::Weight& to = model.weights()[i];
    const model::Weight& from = int8_model.weights()[i];
    to.master.copy_(from.master);
    if (!from.int8.defined()) continue;
    const at::Tensor exact = from.int8.q.to(at::kDouble) * from.int8.scale.to(at::kDouble).unsqueeze(1);
    to.compute.copy_(exact);
    REQUIRE(at::equal(to.compute.to(at::kDouble), exact));
  }
  return model;
}

/// The first tokens of a book that the example checkpoints were not trained on.
std::vector<int32_t> book_tokens(const text::Tokenizer& tokenizer, size_t count) {
  std::ifstream file(std::string(GCA_SOURCE_DIR) + "/examples/books/valid/the-secret-garden.txt");
  std::stringstream text;
  text << file.rdbuf();
  std::vector<int32_t> tokens = tokenizer.encode(text.str());
  REQUIRE(tokens.size() > count);
  tokens.resize(count);
  return tokens;
}

struct Scored {
  at::Tensor logits;  // (T, V)
  double mean_loss;
};

Scored score(const model::LanguageModel& model, const std::vector<int32_t>& text) {
  const at::NoGradGuard no_grad;
  const auto T = static_cast<int64_t>(text.size()) - 1;
  model::TextFeeder feeder(model, {}, T + T / model.config().chunk_size);
  Scored scored{{}, 0};
  feeder.feed(std::span(text).first(static_cast<size_t>(T)), [&](const at::Tensor& hidden, int64_t first) {
    REQUIRE(first == 0);
    const at::Tensor targets = at::tensor(std::vector<int32_t>(text.begin() + 1, text.end()), at::kLong);
    scored.mean_loss = model.loss(hidden, targets.unsqueeze(0)).mean.item<double>();
    scored.logits = model.logits(hidden).squeeze(0).to(at::kDouble);
  });
  return scored;
}

double root_mean_square(const at::Tensor& x) {
  return std::sqrt(x.square().mean().item<double>());
}

}  // namespace

TEST_CASE("int8 weights: bit for bit the logits and losses of bf16 weights that are the same numbers") {
  for (const char* long_range : {"gca", "none"}) {
    CAPTURE(std::string(long_range));
    model::ModelConfig config = tiny_config();
    config.long_range = long_range;
    const model::LanguageModel int8_model = tiny_model(config, at::kBFloat16, 1, model::WeightDtype::int8);
    const model::LanguageModel same = with_these_numbers(int8_model);
    const TextBatch batch = batch_of(some_text(45, config.vocab_size), config);
    const std::vector<int64_t> whole = {batch.ids.size(1)};
    for (const Implementation version :
         {Implementation::fast, Implementation::emulated, Implementation::reference}) {
      const ImplementationGuard guard(version);
      CAPTURE(static_cast<int>(version));
      CHECK(at::equal(logits_in_segments(int8_model, batch.ids, whole),
                      logits_in_segments(same, batch.ids, whole)));
      const at::NoGradGuard no_grad;
      const auto loss_of = [&](const model::LanguageModel& model) {
        const std::unique_ptr<model::Past> past = model.begin();
        return model.loss(model.forward(batch.ids, *past, {}), batch.targets).per_target;
      };
      CHECK(at::equal(loss_of(int8_model), loss_of(same)));
    }
  }
}

TEST_CASE("int8 weights: no gradients, and none on other types") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 1, model::WeightDtype::int8);
  const TextBatch batch = batch_of(some_text(14, 40), tiny_config());
  const std::unique_ptr<model::Past> past = model.begin();
  CHECK_THROWS_AS(model.forward(batch.ids, *past, {}), c10::Error);
  CHECK_THROWS_AS(model::LanguageModel(tiny_config(), at::kDouble, at::kCPU, model::WeightDtype::int8),
                  c10::Error);
}

TEST_CASE(
    "int8 weights of a trained model: logits within 3 % of their spread in the mean square, perplexity "
    "within 0.2 %") {
  const std::string folder = std::string(GCA_SOURCE_DIR) + "/examples/recall";
  const model::TextModel plain = model::TextModel::open(folder, "bf16");
  const model::TextModel int8 = model::TextModel::open(folder, "bf16", at::kCPU, model::WeightDtype::int8);
  const std::vector<int32_t> text = book_tokens(plain.tokenizer, 4000);
  const Scored expected = score(plain.model, text), scored = score(int8.model, text);
  const at::Tensor centred = expected.logits - expected.logits.mean(-1, /*keepdim=*/true);
  const double spread = root_mean_square(centred);
  CHECK(root_mean_square(scored.logits - expected.logits) <= 0.03 * spread);
  CHECK(std::abs(std::exp(scored.mean_loss - expected.mean_loss) - 1) <= 0.002);
}
