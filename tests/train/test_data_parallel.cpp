// Training by several ranks, held to the golden files and to one process.

#include "tests/support/doctest.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <numeric>
#include <sstream>
#include <thread>

#include "lib/core/files/atomic_file.h"
#include "lib/train/checkpoints/checkpoint.h"
#include "lib/train/parallel/rank_rows.h"
#include "lib/train/parallel/sharded_adamw.h"
#include "lib/train/step/trainer.h"
#include "lib/train/training_run.h"
#include "tests/golden_check/model_case.h"
#include "tests/support/as_ranks.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

namespace {

struct Gradients {
  double loss = 0;
  std::vector<at::Tensor> of_weights;
};

/// A training pass of the case with its rows shared out, the batch being the case's two times over.
Gradients shared_pass(const golden::GoldenFile& golden, int ranks, at::ScalarType dtype) {
  Gradients result;
  as_ranks(ranks, [&](parallel::Communicator* communicator) {
    model::LanguageModel model(golden::model_config_of(golden), dtype);
    golden::set_weights(model, golden, 0);
    const golden::CaseBatch once = golden::batch_of(
        golden, {.chunk_size = model.config().chunk_size, .landmark_id = model.config().landmark_id});
    const auto twice = [&](const at::Tensor& x, int64_t dim) { return at::cat({x, x}, dim); };
    const at::Tensor ids = twice(once.ids, 0);
    const at::Tensor targets = twice(once.targets, 0);
    const at::Tensor gumbel =
        twice(golden.tensors.at("input/gumbel"), 1).to(model.weights()[0].master.scalar_type());
    const train::RankRows rows = train::rows_of_rank(ids.size(0), communicator);

    std::unique_ptr<train::ShardedAdamW> optimizer;
    if (communicator != nullptr)
      optimizer = std::make_unique<train::ShardedAdamW>(model, tiny_train_config(), *communicator, 30000);
    model::ForwardOptions options;
    options.gumbel = gumbel.narrow(1, rows.first, rows.count).contiguous();
    const std::unique_ptr<model::Past> past = model.begin();
    const at::Tensor own_targets = targets.narrow(0, rows.first, rows.count);
    const auto loss =
        model.loss(model.forward(ids.narrow(0, rows.first, rows.count), *past, options), own_targets);
    const double share = own_targets.ge(0).sum().item<double>() / targets.ge(0).sum().item<double>();
    double total = loss.mean.item<double>() * share;
    if (optimizer) optimizer->begin_last_backward();
    loss.mean.mul(share).backward();
    if (communicator != nullptr) {
      const std::vector<double> all = communicator->all_gather_values({&total, 1}, "the loss");
      total = std::accumulate(all.begin(), all.end(), 0.0);
      optimizer->gradient_norm();
    }
    std::vector<at::Tensor> gradients;
    for (size_t i = 0; i < model.weights().size(); ++i)
      gradients.push_back(optimizer ? optimizer->summed_gradient(i) : model.weights()[i].master.grad());
    if (communicator == nullptr || communicator->rank() == ranks - 1) result = {total, gradients};
  });
  return result;
}

/// A training pass of the case whose texts are shared by all of `ranks`, in groups of `text_ranks` of them.
Gradients shared_text_pass(const golden::GoldenFile& golden, int ranks, int text_ranks, at::ScalarType dtype,
                           bool recomputes) {
  Gradients result;
  as_ranks(ranks, [&](parallel::Communicator* communicator) {
    const auto group = parallel::open_group(*communicator, text_ranks);
    model::LanguageModel model(golden::model_config_of(golden), dtype);
    golden::set_weights(model, golden, 0);
    const golden::CaseBatch batch = golden::batch_of(
        golden, {.chunk_size = model.config().chunk_size, .landmark_id = model.config().landmark_id});
    const train::RankRows rows = train::rows_of_rank(batch.ids.size(0), communicator, group.get());
    const int64_t n = batch.ids.size(1) / text_ranks;
    const auto own = [&](const at::Tensor& x) {
      return x.narrow(0, rows.first, rows.count).narrow(1, group->rank() * n, n);
    };
    train::ShardedAdamW optimizer(model, tiny_train_config(), *communicator, 30000);
    model::ForwardOptions options;
    options.gumbel = golden.tensors.at("input/gumbel")
                         .to(model.weights()[0].master.scalar_type())
                         .narrow(1, rows.first, rows.count)
                         .contiguous();
    options.text_ranks = group.get();
    options.recompute_activations = recomputes;
    const std::unique_ptr<model::Past> past = model.begin(group->rank() * n);
    const auto loss = model.loss(model.forward(own(batch.ids), *past, options), own(batch.targets));
    const double share =
        own(batch.targets).ge(0).sum().item<double>() / batch.targets.ge(0).sum().item<double>();
    double total = loss.mean.item<double>() * share;
    if (!recomputes) optimizer.begin_last_backward();
    loss.mean.mul(share).backward();
    const std::vector<double> all = communicator->all_gather_values({&total, 1}, "the loss");
    total = std::accumulate(all.begin(), all.end(), 0.0);
    optimizer.gradient_norm();
    std::vector<at::Tensor> gradients;
    for (size_t i = 0; i < model.weights().size(); ++i) gradients.push_back(optimizer.summed_gradient(i));
    if (communicator->rank() == 0) result = {total, gradients};
  });
  return result;
}

train::TrainerState new_state(const train::TrainConfig& config, int64_t total_steps) {
  train::TrainerState state;
  state.total_steps = total_steps;
  state.seed = 3;
  state.dtype = "fp32";
  state.task = "self-copy";
  state.model = tiny_config();
  state.train = config;
  return state;
}

train::TrainConfig rank_config() {
  train::TrainConfig config = tiny_train_config();
  config.batch = 4;
  return config;
}

struct RunSettings {
  int ranks = 1;
  int text_ranks = 1;
  int64_t stop_at = 0;
  bool resumes = false;
  train::TrainConfig config = rank_config();
  at::ScalarType dtype = at::kFloat;
  std::function<void(int rank)> before_batch = nullptr;
  std::function<const std::atomic<bool>*(int rank)> stop = nullptr;
};

/// Makes, or goes on with, the run of 20 steps in `output`, and returns its state on rank 0.
train::TrainerState run_on_ranks(const std::string& output, const RunSettings& settings) {
  constexpr int64_t kSteps = 20;
  std::filesystem::create_directories(output);
  train::TrainerState result;
  as_ranks(settings.ranks, [&](parallel::Communicator* communicator) {
    const int rank = communicator == nullptr ? 0 : communicator->rank();
    train::TrainerState state = new_state(settings.config, kSteps);
    model::LanguageModel model = tiny_model(state.model, settings.dtype);
    const std::string checkpoint = train::checkpoint_folder(output);
    if (settings.resumes) {
      state = train::load_trainer_state(checkpoint);
      train::load_weights(checkpoint, model);
    }
    train::BatchSource source = copy_source(state.model);
    source.batch = [&, inner = source.batch](int64_t consumed, int64_t rows) {
      if (settings.before_batch) settings.before_batch(rank);
      return inner(consumed, rows);
    };
    std::unique_ptr<parallel::Communicator> text_ranks;
    if (settings.text_ranks > 1) text_ranks = parallel::open_group(*communicator, settings.text_ranks);
    train::Trainer trainer(model, state.train, source, state.seed, kSteps, communicator, text_ranks.get());
    if (settings.resumes) train::load_optimizer(checkpoint, model, trainer.optimizer());
    train::RunOptions options;
    options.output = output;
    options.quiet = true;
    options.stop_at = settings.stop_at;
    options.is_new = !settings.resumes;
    if (settings.stop) options.stop = settings.stop(rank);
    train::run_training(trainer, state, copy_validation(state.model), options);
    if (rank == 0) result = state;
  });
  return result;
}

std::string checkpoint_bytes_of(const std::string& output) {
  const std::string folder = train::checkpoint_folder(output);
  return read_file(folder + "/model.safetensors") + read_file(folder + "/optimizer.safetensors");
}

std::vector<double> losses_of(const std::string& output) {
  std::vector<double> losses;
  std::istringstream lines(read_file(output + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);)
    if (const auto entry = nlohmann::json::parse(line); entry.contains("loss"))
      losses.push_back(entry["loss"]);
  return losses;
}

void check_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) CHECK(std::abs(a[i] - b[i]) <= tolerance);
}

}  // namespace

TEST_CASE("Loss and gradients of 1, 2, 3 and 4 ranks are those of the golden files") {
  for (const char* name : {"tiny-g1", "tiny-g2", "k-large"}) {
    const golden::GoldenFile golden =
        golden::load_model_case(std::string(GCA_GOLDEN_DIR) + "/" + name + ".safetensors");
    const double loss = golden.tensors.at("act/loss").item<double>();
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble})
      for (const int ranks : {1, 2, 3, 4}) {
        CAPTURE(name);
        CAPTURE(ranks);
        const Gradients pass = shared_pass(golden, ranks, dtype);
        CHECK(std::abs(pass.loss - loss) <= 1e-6 * loss);
        const model::LanguageModel model(golden::model_config_of(golden), dtype);
        for (size_t i = 0; i < model.weights().size(); ++i) {
          CAPTURE(model.weights()[i].name);
          const at::Tensor& expected = golden.tensors.at("grad/" + model.weights()[i].name);
          REQUIRE(pass.of_weights[i].defined());
          // The files hold float32.
          CHECK(largest_difference(pass.of_weights[i], expected) <=
                (dtype == at::kDouble ? 1e-7 : 1e-5) * expected.abs().max().item<double>());
        }
      }
  }
}

TEST_CASE("Loss and gradients of ranks that share a text are those of the golden files") {
  const struct {
    const char* name;
    int ranks, text_ranks;
  } cases[] = {{"tiny-g1", 2, 2}, {"tiny-g1", 3, 3}, {"tiny-g1", 6, 6},   {"tiny-g2", 4, 4},
               {"tiny-g2", 4, 2}, {"k-large", 5, 5}, {"tiny-reset", 3, 3}};
  for (const auto& one : cases) {
    const golden::GoldenFile golden =
        golden::load_model_case(std::string(GCA_GOLDEN_DIR) + "/" + one.name + ".safetensors");
    const double loss = golden.tensors.at("act/loss").item<double>();
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const bool recomputes = dtype == at::kDouble && one.ranks == 3;
      const Gradients pass = shared_text_pass(golden, one.ranks, one.text_ranks, dtype, recomputes);
      const std::string name = one.name;
      CAPTURE(name);
      const int ranks = one.ranks;
      CAPTURE(ranks);
      CHECK(std::abs(pass.loss - loss) <= 1e-6 * loss);
      const model::LanguageModel model(golden::model_config_of(golden), dtype);
      for (size_t i = 0; i < model.weights().size(); ++i) {
        CAPTURE(model.weights()[i].name);
        const at::Tensor& expected = golden.tensors.at("grad/" + model.weights()[i].name);
        REQUIRE(pass.of_weights[i].defined());
        CHECK(largest_difference(pass.of_weights[i], expected) <=
              (dtype == at::kDouble ? 1e-7 : 1e-5) * expected.abs().max().item<double>());
      }
    }
  }
}

TEST_CASE("20 steps of ranks that share their texts end where one process does, to rounding") {
  const TemporaryFolder folder;
  run_on_ranks(folder / "alone", {});
  const std::vector<double> expected = losses_of(folder / "alone");
  train::TrainConfig recomputed = rank_config();
  recomputed.recompute_activations = true;
  const struct {
    const char* name;
    RunSettings settings;
  } cases[] = {{"two", {.ranks = 2, .text_ranks = 2}},
               {"four", {.ranks = 4, .text_ranks = 2}},
               {"recomputed", {.ranks = 2, .text_ranks = 2, .config = recomputed}}};
  for (const auto& one : cases) {
    const std::string name = one.name;
    CAPTURE(name);
    const train::TrainerState state = run_on_ranks(folder / name, one.settings);
    check_close(losses_of(folder / name), expected, 1e-5);
    CHECK(state.sequences == 80);
    CHECK(state.tokens == train::load_trainer_state(train::checkpoint_folder(folder / "alone")).tokens);
  }
}

TEST_CASE("20 steps of 2 and of 4 ranks end where one process does, to rounding") {
  const TemporaryFolder folder;
  train::TrainConfig accumulated = rank_config();
  accumulated.gradient_accumulation = 2;
  train::TrainConfig recomputed = rank_config();
  recomputed.recompute_activations = true;
  for (const auto& named :
       {std::pair("plain", rank_config()), {"accumulated", accumulated}, {"recomputed", recomputed}}) {
    const train::TrainConfig& config = named.second;
    CAPTURE(named.first);
    const std::string run = folder / named.first;
    run_on_ranks(run + "1", {.config = config});
    const std::vector<double> expected = losses_of(run + "1");
    REQUIRE(expected.size() == 20);
    for (const int ranks : {2, 3, 4}) {
      if (ranks > 2 && run != folder / "plain") continue;
      const std::string output = run + std::to_string(ranks);
      const train::TrainerState state = run_on_ranks(output, {.ranks = ranks, .config = config});
      check_close(losses_of(output), expected, 1e-5);
      CHECK(state.sequences == 80 * config.gradient_accumulation);
      CHECK(state.valid_results.size() ==
            train::load_trainer_state(train::checkpoint_folder(run + "1")).valid_results.size());
    }
  }
}

TEST_CASE("Repeats have the same bits, whatever the timing") {
  const TemporaryFolder folder;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    RunSettings settings{.ranks = 2, .dtype = dtype};
    run_on_ranks(folder / "first", settings);
    std::atomic<uint32_t> number{0};
    settings.before_batch = [&](int rank) {
      std::this_thread::sleep_for(
          std::chrono::milliseconds((number++ * 7919U + static_cast<uint32_t>(rank)) % 5));
    };
    run_on_ranks(folder / "again", settings);
    CHECK(checkpoint_bytes_of(folder / "first") == checkpoint_bytes_of(folder / "again"));
    CHECK(losses_of(folder / "first") == losses_of(folder / "again"));
  }
}

TEST_CASE("A run goes on with another number of ranks, and with the same one bit for bit") {
  const TemporaryFolder folder;
  run_on_ranks(folder / "alone", {});
  run_on_ranks(folder / "changing", {.ranks = 4, .stop_at = 7});
  run_on_ranks(folder / "changing", {.ranks = 2, .stop_at = 13, .resumes = true});
  CHECK(run_on_ranks(folder / "changing", {.resumes = true}).step == 20);
  check_close(losses_of(folder / "changing"), losses_of(folder / "alone"), 1e-5);

  run_on_ranks(folder / "straight", {.ranks = 2});
  run_on_ranks(folder / "halved", {.ranks = 2, .stop_at = 9});
  run_on_ranks(folder / "halved", {.ranks = 2, .resumes = true});
  CHECK(checkpoint_bytes_of(folder / "straight") == checkpoint_bytes_of(folder / "halved"));
}

TEST_CASE("A stop that one rank is asked for stops all after the same step") {
  const TemporaryFolder folder;
  std::atomic<bool> stop{false};
  std::atomic<int> batches{0};
  const train::TrainerState state =
      run_on_ranks(folder / "run", {.ranks = 3,
                                    .before_batch =
                                        [&](int rank) {
                                          if (rank == 0 && ++batches == 6) stop = true;
                                        },
                                    .stop = [&](int rank) { return rank == 1 ? &stop : nullptr; }});
  CHECK(state.step < 20);
  CHECK(train::load_trainer_state(train::checkpoint_folder(folder / "run")).step == state.step);
  run_on_ranks(folder / "run", {.ranks = 3, .resumes = true});
  run_on_ranks(folder / "straight", {.ranks = 3});
  CHECK(checkpoint_bytes_of(folder / "straight") == checkpoint_bytes_of(folder / "run"));
}
