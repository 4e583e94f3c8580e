// Random rounding of the retrieval weights against a plain loop, its mean and its gradient.

#include "lib/model/backbones/gca/weight_rounding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

TEST_CASE("A weight below the threshold becomes 0 or the threshold, its mean stays, and others stay") {
  constexpr int64_t kDraws = 10000;
  constexpr double kThreshold = 0.4;
  // Every place of a fine grid in (0, 1) once: the mean over it is the mean over all draws.
  const at::Tensor uniform = (at::arange(kDraws, at::kDouble) + 0.5) / kDraws;
  for (const double w : {0.0, 0.001, 0.1, 0.39, 0.4, 0.41, 1.0}) {
    CAPTURE(w);
    const at::Tensor weights = at::full({kDraws}, w, at::kDouble);
    const at::Tensor rounded = model::round_weights(weights, uniform, kThreshold);
    const auto* value = rounded.const_data_ptr<double>();
    const auto* u = uniform.const_data_ptr<double>();
    double sum = 0;
    for (int64_t i = 0; i < kDraws; ++i) {
      const double expected = w >= kThreshold ? w : u[i] < w / kThreshold ? kThreshold : 0.0;
      REQUIRE(value[i] == expected);
      sum += value[i];
    }
    CHECK(sum / kDraws == doctest::Approx(w).epsilon(1e-3));
  }
}

TEST_CASE("The gradient passes a rounded weight as if it had not been rounded") {
  at::Tensor weights = at::tensor({0.05, 0.3, 0.65}, at::kDouble).requires_grad_(true);
  const at::Tensor uniform = at::tensor({0.5, 0.5, 0.5}, at::kDouble);
  const at::Tensor factors = at::tensor({2.0, -3.0, 5.0}, at::kDouble);
  torch::autograd::backward({(model::round_weights(weights, uniform, 0.5) * factors).sum()}, {});
  CHECK(at::equal(weights.grad(), factors));
}

TEST_CASE("A model reads by rounded weights, drawn for each step, where it is told to") {
  const model::ModelConfig config = tiny_config();
  const model::LanguageModel model = tiny_model(config);
  const TextBatch batch = batch_of(some_text(15 * config.chunk_text_size(), config.vocab_size), config);
  const auto loss = [&](double weight_rounding, uint64_t step) {
    const at::NoGradGuard no_grad;
    model::ForwardOptions options;
    options.weight_rounding = weight_rounding;
    options.step = step;
    const std::unique_ptr<model::Past> past = model.begin();
    return model.loss(model.forward(batch.ids, *past, options), batch.targets).mean.item<double>();
  };
  CHECK(loss(0.9, 1) == loss(0.9, 1));
  CHECK(loss(0.9, 1) != loss(0.9, 2));
  CHECK(loss(0.9, 1) != loss(0, 1));
  CHECK(loss(1e-9, 1) == loss(0, 1));  // no weight is as small
}
