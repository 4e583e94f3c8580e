// Training passes of the whole model: activation recomputation, noise, retrievers, threads. Gradients against finite
// differences: test_backbones.cpp.

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <doctest/doctest.h>

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

struct TrainingPass {
  double loss = 0;
  std::vector<at::Tensor> gradients;
};

TrainingPass run_training_pass(model::LanguageModel& model, const TextBatch& batch,
                               const model::ForwardOptions& options) {
  for (model::Weight& weight : model.weights()) weight.master.mutable_grad() = at::Tensor();
  const std::unique_ptr<model::Past> past = model.begin();
  const model::LossResult loss = model.loss(model.forward(batch.ids, *past, options), batch.targets);
  torch::autograd::backward({loss.mean}, {});
  TrainingPass pass{loss.mean.item<double>(), {}};
  for (const model::Weight& weight : model.weights()) {
    const at::Tensor& gradient = weight.master.grad();
    pass.gradients.push_back(gradient.defined() ? gradient.clone() : at::zeros_like(weight.master));
  }
  return pass;
}

double loss_of(const model::LanguageModel& model, const TextBatch& batch,
               const model::ForwardOptions& options) {
  const at::NoGradGuard no_grad;
  const std::unique_ptr<model::Past> past = model.begin();
  return model.loss(model.forward(batch.ids, *past, options), batch.targets).mean.item<double>();
}

model::ForwardOptions with_noise() {
  model::ForwardOptions options;
  options.draw_gumbel = true;
  options.seed = 7;
  options.step = 3;
  return options;
}

}  // namespace

TEST_CASE("recomputing activations changes no bit of loss and gradients") {
  for (const model::BackboneKind* kind : model::backbone_kinds()) {
    model::ModelConfig config = tiny_config();
    config.long_range = kind->name;
    model::LanguageModel model = tiny_model(config);
    const TextBatch batch = batch_of(some_text(60, config.vocab_size), config);
    model::ForwardOptions options = with_noise();
    const TrainingPass kept = run_training_pass(model, batch, options);
    options.recompute_activations = true;
    const TrainingPass again = run_training_pass(model, batch, options);
    CHECK(kept.loss == again.loss);
    for (size_t i = 0; i < kept.gradients.size(); ++i) {
      CAPTURE(model.weights()[i].name);
      CHECK(at::equal(kept.gradients[i], again.gradients[i]));
    }
  }
}

TEST_CASE("the same seed gives the same bits, and two threads the same loss to rounding") {
  const model::ModelConfig config = tiny_config();
  model::LanguageModel model = tiny_model(config);
  const TextBatch batch = batch_of(some_text(80, config.vocab_size), config);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const TrainingPass one = run_training_pass(model, batch, with_noise());
  const TrainingPass one_again = run_training_pass(model, batch, with_noise());
  at::set_num_threads(2);
  const TrainingPass two = run_training_pass(model, batch, with_noise());
  at::set_num_threads(threads);
  CHECK(one.loss == one_again.loss);
  CHECK(std::abs(one.loss - two.loss) <= 1e-5);
  for (size_t i = 0; i < one.gradients.size(); ++i) {
    CAPTURE(model.weights()[i].name);
    CHECK(at::equal(one.gradients[i], one_again.gradients[i]));
    CHECK(largest_difference(one.gradients[i], two.gradients[i]) <=
          1e-4 * std::max(1e-3, one.gradients[i].abs().max().item<double>()));
  }
}

TEST_CASE("noise moves the choice in training and nothing in evaluation") {
  const model::ModelConfig config = tiny_config();
  const model::LanguageModel model = tiny_model(config);
  const TextBatch batch = batch_of(some_text(120, config.vocab_size), config);
  model::ForwardOptions other_step = with_noise();
  other_step.step = 4;
  CHECK(loss_of(model, batch, with_noise()) != loss_of(model, batch, other_step));
  CHECK(loss_of(model, batch, {}) == loss_of(model, batch, {}));
}

TEST_CASE("every retriever reads only earlier chunks, and none reads nothing") {
  const model::ModelConfig config = tiny_config();
  const model::LanguageModel model = tiny_model(config);
  const TextBatch batch = batch_of(some_text(15 * config.chunk_text_size(), config.vocab_size), config);
  for (const model::Retriever retriever : {model::Retriever::learned, model::Retriever::random,
                                           model::Retriever::recent, model::Retriever::none}) {
    model::ForwardOptions options;
    options.retriever = retriever;
    at::Tensor idx;
    double read = -1;
    options.observe = [&](const std::string& name, const at::Tensor& value) {
      if (name == "idx.0") idx = value.clone();
      if (name == "upper.0.o") read = value.abs().max().item<double>();
    };
    loss_of(model, batch, options);
    const auto rows = idx.accessor<int32_t, 3>();
    for (int64_t t = 0; t < rows.size(1); ++t) {
      for (int64_t slot = 0; slot < rows.size(2); ++slot) {
        const int64_t chunk = rows[0][t][slot];
        CHECK(chunk < t);
        CHECK((chunk >= 0) == (retriever != model::Retriever::none && slot < t));
        if (retriever == model::Retriever::recent && chunk >= 0) CHECK(chunk == t - 1 - slot);
      }
    }
    CHECK((read > 0) == (retriever != model::Retriever::none));
  }
}

TEST_CASE(
    "a model with a random retriever draws every chunk alike, weights all alike, and teaches no scores") {
  model::ModelConfig config = tiny_config();
  config.retriever = "random";
  model::LanguageModel model = tiny_model(config);
  constexpr int64_t kChunks = 15;
  constexpr int kSteps = 400;
  const TextBatch batch = batch_of(some_text(kChunks * config.chunk_text_size(), config.vocab_size), config);
  std::vector<int> drawn(kChunks);
  model::ForwardOptions options = with_noise();
  options.observe = [&](const std::string& name, const at::Tensor& value) {
    const int64_t last = value.dim() == 3 ? value.size(1) - 1 : 0;
    if (name == "idx.0")
      for (int64_t slot = 0; slot < config.chunk_top_k; ++slot)
        ++drawn[static_cast<size_t>(value[0][last][slot].item<int32_t>())];
    if (name != "w.1") return;
    CHECK(value[0][0].sum().item<double>() == 0.0);  // the first landmark has nothing before it
    for (int64_t t = 1; t <= last; ++t)
      for (int64_t slot = 0; slot < config.chunk_top_k; ++slot)
        CHECK(value[0][t][slot].item<double>() == (slot < t ? 1.0 / std::min(t, config.chunk_top_k) : 0.0));
  };
  for (int step = 0; step < kSteps; ++step) {
    options.step = static_cast<uint64_t>(step);
    loss_of(model, batch, options);
  }
  // Each of the 14 earlier chunks K / 14 times a step: 57, with a standard deviation of 7.
  CHECK(drawn.back() == 0);
  for (size_t chunk = 0; chunk + 1 < drawn.size(); ++chunk) {
    CHECK(drawn[chunk] > 57 - 35);
    CHECK(drawn[chunk] < 57 + 35);
  }

  options.observe = {};
  const TrainingPass pass = run_training_pass(model, batch, options);
  for (size_t i = 0; i < pass.gradients.size(); ++i) {
    const std::string& name = model.weights()[i].name;
    CAPTURE(name);
    if (name.ends_with("query_norm")) CHECK(pass.gradients[i].abs().max().item<double>() == 0.0);
    if (name.ends_with("gca.wq") || name.ends_with("memory.wk"))
      CHECK(pass.gradients[i].abs().max().item<double>() > 0.0);
  }
  CHECK(loss_of(model, batch, {}) == loss_of(model, batch, {}));
}

TEST_CASE("a silent group reads nothing and learns nothing, the other goes on") {
  const model::ModelConfig config = tiny_config();  // group 0: layers 0 and 1, group 1: layer 2
  model::LanguageModel model = tiny_model(config);
  const TextBatch batch = batch_of(some_text(15 * config.chunk_text_size(), config.vocab_size), config);
  for (const int64_t silent : {0, 1}) {
    CAPTURE(silent);
    model::ForwardOptions options;
    options.silent_group = silent;
    double read[2] = {-1, -1};
    options.observe = [&](const std::string& name, const at::Tensor& value) {
      if (name == "upper.0.o") read[0] = value.abs().max().item<double>();
      if (name == "upper.2.o") read[1] = value.abs().max().item<double>();
    };
    const TrainingPass pass = run_training_pass(model, batch, options);
    CHECK(read[silent] == 0);
    CHECK(read[1 - silent] > 0);
    for (size_t i = 0; i < pass.gradients.size(); ++i)
      for (const int64_t group : {0, 1})
        if (model.weights()[i].name == "group." + std::to_string(group) + ".query_norm")
          CHECK((pass.gradients[i].abs().max().item<double>() > 0) == (group != silent));
    options.observe = {};
    CHECK(loss_of(model, batch, options) == doctest::Approx(pass.loss).epsilon(1e-6));
  }
}

TEST_CASE(
    "Retrieval dropout empties whole sequences, the same in every group, each drawn by its number in the "
    "step") {
  const model::ModelConfig config = tiny_config();
  const model::LanguageModel model = tiny_model(config);
  const TextBatch one = batch_of(some_text(6 * config.chunk_text_size(), config.vocab_size), config);
  constexpr int64_t kRows = 64;
  // Whether each row, all with the same text, reads in group 0 and in group 1.
  const auto rows_that_read = [&](model::ForwardOptions options, int64_t rows) {
    std::vector<bool> read[2];
    options.observe = [&](const std::string& name, const at::Tensor& value) {
      if (name != "idx.0" && name != "idx.1") return;
      const at::Tensor most = value.reshape({rows, -1}).amax(1);
      for (int64_t row = 0; row < rows; ++row)
        read[name == "idx.1"].push_back(most[row].item<int32_t>() >= 0);
    };
    loss_of(model, {one.ids.expand({rows, -1}), one.targets.expand({rows, -1})}, options);
    CHECK(read[0] == read[1]);
    return read[0];
  };

  model::ForwardOptions options = with_noise();
  options.retrieval_dropout = 0.25;
  const std::vector<bool> read = rows_that_read(options, kRows);
  const auto reading = std::count(read.begin(), read.end(), true);
  CHECK(reading >= 34);  // 48 of a fair draw, less likely outside than 1 in 10,000
  CHECK(reading <= 60);
  options.batch_offset = 40;
  CHECK(rows_that_read(options, 8) == std::vector<bool>(read.begin() + 40, read.begin() + 48));
  options.batch_offset = 0;
  ++options.step;
  CHECK(rows_that_read(options, kRows) != read);

  options.retrieval_dropout = 1;
  model::ForwardOptions none;
  none.retriever = model::Retriever::none;
  CHECK(loss_of(model, one, options) == loss_of(model, one, none));
}
