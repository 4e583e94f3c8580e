// retriever=frozen: chunks chosen by vectors that no training moves.

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tests/support/chunk_vectors_file.h"
#include "tests/support/error_of.h"
#include "tests/support/frozen_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kRows = 2;
constexpr int64_t kChunks = 9;
constexpr int64_t kSize = 5;

struct Case {
  model::LanguageModel model = tiny_model(frozen_config());
  at::Tensor ids, targets;  // (2, L): nine chunks and a beginning
  at::Tensor vectors = at::tensor(some_numbers(kRows * kChunks * kSize)).mul(2).view({kRows, kChunks, kSize});
  model::ForwardOptions options;

  Case() {
    std::vector<at::Tensor> row_ids, row_targets;
    for (uint32_t row = 0; row < kRows; ++row) {
      const TextBatch one = batch_of(
          some_text(kChunks * model.config().chunk_text_size() + 3, model.config().vocab_size, row + 1),
          model.config());
      row_ids.push_back(one.ids);
      row_targets.push_back(one.targets);
    }
    ids = at::cat(row_ids, 0);
    targets = at::cat(row_targets, 0);
    options.chunk_vectors = vectors;
  }

  at::Tensor logits(const model::ForwardOptions& how) const {
    const at::NoGradGuard no_grad;
    return model.logits(model.forward(ids, *model.begin(), how));
  }
};

}  // namespace

TEST_CASE("a frozen choice is the K earlier chunks of the largest dot products, weighted by their softmax") {
  Case one;
  std::map<std::string, at::Tensor> seen;
  one.options.observe = [&](const std::string& name, const at::Tensor& value) { seen[name] = value.clone(); };
  one.options.draw_gumbel = true;  // a choice that is not trained has nothing to explore
  one.logits(one.options);
  const auto vectors = one.vectors.accessor<float, 3>();
  const auto K = static_cast<size_t>(one.model.config().chunk_top_k);
  for (const std::string group : {"0", "1"}) {
    const auto idx = seen.at("idx." + group).accessor<int32_t, 3>();
    const auto weights = seen.at("w." + group).accessor<float, 3>();
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t t = 0; t < kChunks; ++t) {
        std::vector<std::pair<double, int64_t>> scored;
        for (int64_t c = 0; c < t; ++c) {
          double dot = 0;
          for (int64_t i = 0; i < kSize; ++i)
            dot += static_cast<double>(vectors[row][t][i]) * static_cast<double>(vectors[row][c][i]);
          scored.emplace_back(-dot, c);
        }
        std::sort(scored.begin(), scored.end());
        scored.resize(std::min(scored.size(), K));
        double sum = 0;
        for (const auto& [negative, c] : scored) sum += std::exp(-negative);
        for (size_t slot = 0; slot < K; ++slot) {
          const auto k = static_cast<int64_t>(slot);
          CHECK(idx[row][t][k] == (slot < scored.size() ? scored[slot].second : -1));
          const double expected = slot < scored.size() ? std::exp(-scored[slot].first) / sum : 0.0;
          CHECK(weights[row][t][k] == doctest::Approx(expected).epsilon(1e-5));
        }
      }
  }
}

TEST_CASE(
    "a frozen choice depends on nothing but the vectors: no noise, no weight, no gradient to what scores") {
  Case one;
  model::ForwardOptions noisy = one.options;
  noisy.draw_gumbel = true;
  noisy.seed = 5;
  CHECK(at::equal(one.logits(noisy), one.logits(one.options)));
  model::ForwardOptions others = one.options;
  others.chunk_vectors = -one.vectors.flip({1});
  CHECK(largest_difference(one.logits(others), one.logits(one.options)) > 1e-3);

  for (const bool recomputes : {false, true}) {
    model::ForwardOptions options = noisy;
    options.recompute_activations = recomputes;
    const auto gradients_of = [&] {
      for (model::Weight& weight : one.model.weights()) weight.master.mutable_grad() = at::Tensor();
      const std::unique_ptr<model::Past> past = one.model.begin();
      torch::autograd::backward(
          {one.model.loss(one.model.forward(one.ids, *past, options), one.targets).mean}, {});
    };
    gradients_of();
    int scoring = 0, reading = 0;
    for (const model::Weight& weight : one.model.weights()) {
      CAPTURE(weight.name);
      const at::Tensor& gradient = weight.master.grad();
      if (weight.name.ends_with("query_norm")) {
        ++scoring;
        if (gradient.defined()) CHECK(gradient.abs().max().item<double>() == 0.0);
      }
      if (weight.name.ends_with("gca.wq") || weight.name.ends_with("memory.wk")) {
        ++reading;
        CHECK(gradient.abs().max().item<double>() > 0.0);
      }
    }
    CHECK(scoring == 2);
    CHECK(reading > 0);
  }
}

TEST_CASE("a frozen choice is the same in segments, by steps and with vectors of chunks still to come") {
  Case one;
  const at::Tensor whole = one.logits(one.options).narrow(0, 0, 1);
  const int64_t L = one.ids.size(1);
  model::ForwardOptions options = one.options;
  options.chunk_vectors = one.vectors.narrow(0, 0, 1);
  for (const std::vector<int64_t>& lengths :
       {std::vector<int64_t>{24, L - 24}, {13, 30, L - 43}, std::vector<int64_t>(static_cast<size_t>(L), 1)})
    CHECK(largest_difference(logits_in_segments(one.model, one.ids.narrow(0, 0, 1), lengths, options),
                             whole) <= 1e-4);
}

TEST_CASE("a model with a frozen choice tells in one line that a text has no vectors, and can read nothing") {
  Case one;
  model::ForwardOptions without;
  const auto error = error_of([&] { one.logits(without); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("retriever frozen"));
  const auto told =
      error_of([&] { model::require_choice_without_vectors(one.model.config(), "RUN", "a prompt"); });
  REQUIRE(told);
  CHECK(told->says("RUN: chooses chunks by vectors of a data set (retriever frozen), and a prompt has no"));
  CHECK_NOTHROW(model::require_choice_without_vectors(tiny_config(), "RUN", "a prompt"));

  model::ForwardOptions none = one.options;
  none.retriever = model::Retriever::none;
  model::ForwardOptions random = one.options;
  random.retriever = model::Retriever::random;
  CHECK(largest_difference(one.logits(none), one.logits(one.options)) > 1e-3);
  CHECK(largest_difference(one.logits(random), one.logits(one.options)) > 1e-3);
}
