#include "lib/train/step/adamw_optimizer.h"

#include "tests/support/doctest.h"

#include <ATen/ops/tensor.h>
#include <algorithm>
#include <cmath>

#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

namespace {

/// Loshchilov & Hutter, algorithm 2, one number at a time.
struct PlainAdamW {
  double m = 0, v = 0;
  double next(double w, double g, double lr, const train::TrainConfig& c, int t) {
    m = c.adam_beta1 * m + (1 - c.adam_beta1) * g;
    v = c.adam_beta2 * v + (1 - c.adam_beta2) * g * g;
    const double m_hat = m / (1 - std::pow(c.adam_beta1, t));
    const double v_hat = v / (1 - std::pow(c.adam_beta2, t));
    return w - lr * (m_hat / (std::sqrt(v_hat) + c.adam_epsilon) + c.weight_decay * w);
  }
};

}  // namespace

TEST_CASE("AdamW follows the plain formula over several steps, with factors by part") {
  train::TrainConfig config;
  config.weight_decay = 0.1;
  config.encoder_factor = 0.1;
  std::vector<model::Weight> weights(2);
  weights[0].name = "lower.0.attn.wq";
  weights[1].name = "enc.0.attn.wq";
  weights[0].group = model::WeightGroup::lower;
  weights[1].group = model::WeightGroup::encoder;
  std::vector<std::vector<PlainAdamW>> plain(2, std::vector<PlainAdamW>(3));
  std::vector<std::vector<double>> expected(2, {0.5, -1.25, 2.0});
  for (model::Weight& weight : weights) weight.master = at::tensor({0.5, -1.25, 2.0}, at::kDouble);
  train::AdamWOptimizer optimizer(weights, config);

  for (int t = 1; t <= 5; ++t) {
    const double lr = 0.01 * t;
    const double clip = 1.0 / t;
    for (size_t w = 0; w < 2; ++w) {
      const std::vector<double> gradient = {0.3 * t, -0.001, std::sin(3.0 * t)};
      weights[w].master.mutable_grad() = at::tensor(gradient, at::kDouble);
      for (size_t i = 0; i < 3; ++i)
        expected[w][i] =
            plain[w][i].next(expected[w][i], clip * gradient[i], lr * (w == 1 ? 0.1 : 1.0), config, t);
    }
    optimizer.update(t - 1, lr, clip);
    for (size_t w = 0; w < 2; ++w)
      for (size_t i = 0; i < 3; ++i)
        CHECK(std::abs(weights[w].master[static_cast<int64_t>(i)].item<double>() - expected[w][i]) <= 1e-12);
  }
}

TEST_CASE("A weight without a gradient stays as it is") {
  std::vector<model::Weight> weights(1);
  weights[0].name = "mem.wk";
  weights[0].master = at::tensor({1.0, 2.0}, at::kDouble);
  train::AdamWOptimizer optimizer(weights, {});
  optimizer.update(0, 0.1, 1.0);
  CHECK(largest_difference(weights[0].master, at::tensor({1.0, 2.0}, at::kDouble)) == 0.0);
}

TEST_CASE("Every weight belongs to one part") {
  train::TrainConfig config;
  config.embedding_factor = 1;
  config.lower_factor = 2;
  config.encoder_factor = 3;
  config.memory_factor = 4;
  config.upper_factor = 5;
  const model::LanguageModel model(tiny_config(), at::kFloat);
  const std::vector<std::pair<const char*, double>> expected = {
      {"tok_emb", 1}, {"lower.1.mlp.w_up", 2},   {"enc.in_norm", 3},    {"enc.0.attn.wo", 3},
      {"mem.wv", 4},  {"group.0.query_norm", 5}, {"upper.0.gca.wq", 5}, {"out_norm", 5}};
  for (const auto& pair : expected) {
    const auto& name = pair.first;
    const auto& factor = pair.second;
    CAPTURE(name);
    const auto weight = std::find_if(model.weights().begin(), model.weights().end(),
                                     [name = name](const model::Weight& one) { return one.name == name; });
    REQUIRE(weight != model.weights().end());
    CHECK(train::learning_rate_factor(config, weight->group) == factor);
  }
}
