#include "lib/train/step/trainer.h"

#include "tests/support/doctest.h"

#include <ATen/Parallel.h>
#include "lib/train/data/batch_tensors.h"
#include "tests/support/error_of.h"
#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kSteps = 4;

/// The losses of a short run; `model` keeps what it learned.
std::vector<double> losses_of_training(model::LanguageModel& model, const train::TrainConfig& config,
                                       uint64_t seed = 3) {
  train::Trainer trainer(model, config, copy_source(model.config()), seed, kSteps);
  std::vector<double> losses;
  for (int64_t step = 0; step < kSteps; ++step)
    losses.push_back(trainer.make_step(step, step * config.sequences_per_step(), false).loss);
  return losses;
}

model::Weight& weight_named(model::LanguageModel& model, const std::string& name) {
  for (model::Weight& weight : model.weights())
    if (weight.name == name) return weight;
  FAIL("no weight " << name);
  return model.weights().front();
}

}  // namespace

TEST_CASE("Two runs with one seed give the same bits, two seeds do not") {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    model::LanguageModel a = tiny_model(tiny_config(), dtype), b = tiny_model(tiny_config(), dtype),
                         c = tiny_model(tiny_config(), dtype);
    CHECK(losses_of_training(a, tiny_train_config()) == losses_of_training(b, tiny_train_config()));
    CHECK(largest_change(a, copies_of_masters(b)) == 0.0);
    losses_of_training(c, tiny_train_config(), 4);  // other noise on the choice
    CHECK(largest_change(a, copies_of_masters(c)) > 0.0);
  }
}

TEST_CASE("One and two threads give the same losses to rounding") {
  model::LanguageModel a = tiny_model(tiny_config()), b = tiny_model(tiny_config());
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = losses_of_training(a, tiny_train_config());
  at::set_num_threads(2);
  const auto two = losses_of_training(b, tiny_train_config());
  at::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) CHECK(std::abs(one[i] - two[i]) <= 1e-5);
}

TEST_CASE("Micro-batches add up to the batch that they were cut from") {
  train::TrainConfig whole = tiny_train_config();
  whole.batch = 4;
  train::TrainConfig cut = whole;
  cut.batch = 1;
  cut.gradient_accumulation = 4;
  model::LanguageModel a = tiny_model(tiny_config(), at::kDouble), b = tiny_model(tiny_config(), at::kDouble);
  const auto before = copies_of_masters(a);
  const auto whole_losses = losses_of_training(a, whole), cut_losses = losses_of_training(b, cut);
  for (size_t i = 0; i < whole_losses.size(); ++i) CHECK(std::abs(whole_losses[i] - cut_losses[i]) <= 1e-7);
  CHECK(largest_change(a, copies_of_masters(b)) <= 1e-6);
  CHECK(largest_change(a, before) > 1e-3);
}

TEST_CASE("Micro-batches with few targets weigh less than those with many") {
  // Of the second micro-batch only one target is left: the loss must be the mean over all targets, not of means.
  const model::ModelConfig config = tiny_config();
  const train::BatchSource full = copy_source(config);
  const auto thinned = [&](int64_t consumed, int64_t rows) {
    data::Batch batch = full.batch(consumed, rows);
    if (consumed % 2 == 1) {
      for (size_t i = 0; i + 3 < batch.targets.size(); ++i) batch.targets[i] = data::kNoTarget;
      batch.target_count = 0;
      for (const int64_t target : batch.targets) batch.target_count += target >= 0;
    }
    return batch;
  };
  train::TrainConfig train_config = tiny_train_config();
  train_config.batch = 1;
  train_config.gradient_accumulation = 2;
  train_config.gumbel_noise = false;
  train_config.residual_blend_end = 0;
  model::LanguageModel model = tiny_model(config, at::kDouble);

  double sum = 0.0;
  int64_t count = 0;
  for (int64_t i = 0; i < 2; ++i) {
    const at::NoGradGuard no_grad;
    const auto [ids, targets] = train::to_tensors(thinned(i, 1));
    const std::unique_ptr<model::Past> past = model.begin();
    sum += model.loss(model.forward(ids, *past, {}), targets).per_target.sum(at::kDouble).item<double>();
    count += targets.ge(0).sum().item<int64_t>();
  }
  train::Trainer trainer(model, train_config, {thinned, ""}, 1, kSteps);
  const train::StepResult result = trainer.make_step(0, 0, false);
  CHECK(result.target_count == count);
  CHECK(std::abs(result.loss - sum / static_cast<double>(count)) <= 1e-6);
}

TEST_CASE("Clipping bounds the gradient that the moments see") {
  train::TrainConfig config = tiny_train_config();
  config.gradient_clip = 0.01;
  model::LanguageModel model = tiny_model(tiny_config(), at::kDouble);
  train::Trainer trainer(model, config, copy_source(model.config()), 1, kSteps);
  const train::StepResult result = trainer.make_step(0, 0, false);
  REQUIRE(result.gradient_norm > 0.01);
  double sum = 0.0;  // after one step m = (1 - beta1) g
  for (size_t i = 0; i < model.weights().size(); ++i)
    sum += trainer.optimizer().moment(train::Moment::first, i).pow(2).sum().item<double>();
  CHECK(std::abs(std::sqrt(sum) / (1 - config.adam_beta1) - 0.01) <= 1e-9);
}

TEST_CASE("Recomputing activations changes memory, not the result") {
  train::TrainConfig config = tiny_train_config();
  model::LanguageModel a = tiny_model(tiny_config()), b = tiny_model(tiny_config());
  const auto kept = losses_of_training(a, config);
  config.recompute_activations = true;
  const auto recomputed = losses_of_training(b, config);
  for (size_t i = 0; i < kept.size(); ++i) CHECK(std::abs(kept[i] - recomputed[i]) <= 1e-6);
}

TEST_CASE("Measuring a step leaves weights and moments as they were") {
  model::LanguageModel model = tiny_model(tiny_config());
  const auto before = copies_of_masters(model);
  train::Trainer trainer(model, tiny_train_config(), copy_source(model.config()), 1, kSteps);
  CHECK(trainer.measure_step_seconds(1.0) > 0.0);
  CHECK(largest_change(model, before) == 0.0);
  for (size_t i = 0; i < model.weights().size(); ++i)
    CHECK(trainer.optimizer().moment(train::Moment::second, i).abs().max().item<double>() == 0.0);
}

TEST_CASE("A weight that is not finite is named, and nothing moves") {
  model::LanguageModel model = tiny_model(tiny_config());
  train::Trainer trainer(model, tiny_train_config(), copy_source(model.config()), 1, kSteps);
  trainer.make_step(0, 0, false);
  {
    const at::NoGradGuard no_grad;
    weight_named(model, "lower.1.attn.wv").master[3][2].fill_(std::numeric_limits<float>::quiet_NaN());
  }
  model.refresh_compute_weights();
  const at::Tensor before = weight_named(model, "upper.0.attn.wq").master.detach().clone();
  const auto error = error_of([&] { trainer.make_step(1, 2, false); });
  REQUIRE(error);
  CHECK(!error->is_usage());
  CHECK(error->says("step 1"));
  CHECK(error->says("weight lower.1.attn.wv"));
  CHECK(largest_difference(before, weight_named(model, "upper.0.attn.wq").master.detach()) == 0.0);
}

TEST_CASE("Where finite weights overflow, the first result that does is named") {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"lower.0.mlp.w_down", "lower.0 "}, {"upper.0.gca.wo", "upper.0.o "}, {"mem.wv", "chunk_v "}};
  for (const auto& pair : cases) {
    const auto& weight = pair.first;
    const auto& named = pair.second;
    CAPTURE(weight);
    model::LanguageModel model = tiny_model(tiny_config());
    {
      const at::NoGradGuard no_grad;
      weight_named(model, weight).master.mul_(1e38).mul_(1e3).clamp_(-3e38, 3e38);
    }
    model.refresh_compute_weights();
    train::Trainer trainer(model, tiny_train_config(), copy_source(model.config()), 1, kSteps);
    const auto error = error_of([&] { trainer.make_step(0, 0, false); });
    REQUIRE(error);
    CAPTURE(error->message);
    CHECK(error->says(std::string("tensor: ") + named));
  }
}

TEST_CASE("A run rounds retrieval weights where its configuration says so, and never without") {
  train::TrainConfig rounds = tiny_train_config();
  rounds.weight_rounding = 0.9;
  model::LanguageModel a = tiny_model(tiny_config()), b = tiny_model(tiny_config()),
                       c = tiny_model(tiny_config());
  const double rounded = losses_of_training(a, rounds).front();
  CHECK(rounded == losses_of_training(b, rounds).front());
  CHECK(rounded != losses_of_training(c, tiny_train_config()).front());
}

TEST_CASE("A run drops retrieval where its configuration says so") {
  const auto reads = [](double dropout) {
    model::LanguageModel model = tiny_model(tiny_config());
    train::TrainConfig config = tiny_train_config();
    config.retrieval_dropout = dropout;
    train::Trainer trainer(model, config, copy_source(model.config()), 3, kSteps);
    return trainer.make_step(0, 0, true).retrieval.front().mean_distance > 0;
  };
  CHECK(reads(0));
  CHECK(!reads(1));
}

TEST_CASE("Group dropout silences one group of a step, each in its turn, and none where there is one") {
  struct Count {
    int64_t none = 0, first = 0, second = 0;
  };
  const auto silent_groups = [](int64_t groups, double dropout, int64_t steps) {
    model::ModelConfig model_config = tiny_config();
    model_config.retrieval_groups = groups;
    model::LanguageModel model = tiny_model(model_config);
    train::TrainConfig config = tiny_train_config();
    config.group_dropout = dropout;
    train::Trainer trainer(model, config, copy_source(model_config), 3, steps);
    Count count;
    for (int64_t step = 0; step < steps; ++step) {
      const auto retrieval = trainer.make_step(step, step * config.sequences_per_step(), true).retrieval;
      const auto is_silent = [&](size_t group) { return retrieval[group].mean_distance == 0; };  // no choice
      const bool first = is_silent(0), second = groups > 1 && is_silent(1);
      CHECK(!(first && second));
      ++(first ? count.first : second ? count.second : count.none);
    }
    return count;
  };
  CHECK(silent_groups(2, 0.0, 8).none == 8);
  CHECK(silent_groups(1, 1.0, 8).none == 8);
  const Count always = silent_groups(2, 1.0, 40);
  CHECK(always.none == 0);
  CHECK(always.first >= 10);  // less likely than 1 in 1000 for a fair draw
  CHECK(always.second >= 10);
  const Count half = silent_groups(2, 0.5, 60);
  CHECK(half.none >= 15);
  CHECK(half.none <= 45);
}
