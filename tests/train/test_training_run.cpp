// A run as a whole: checkpoints, resuming, metrics, the lock.

#include "lib/train/training_run.h"

#include "tests/support/doctest.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "lib/tasks/needles/needle_task.h"
#include "lib/train/checkpoints/checkpoint.h"
#include "lib/train/checkpoints/run_lock.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

namespace {

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Lines of metrics.jsonl without the speeds, which no run repeats.
std::vector<nlohmann::json> metrics_of(const std::string& output) {
  std::ifstream file(output + "/metrics.jsonl");
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(nlohmann::json::parse(line));
    lines.back().erase("tokens_per_second");
  }
  return lines;
}

train::TrainerState new_state(int64_t total_steps) {
  train::TrainerState state;
  state.total_steps = total_steps;
  state.seed = 3;
  state.dtype = "fp32";
  state.task = "self-copy";
  state.model = tiny_config();
  state.train = tiny_train_config();
  return state;
}

train::RunOptions options_of(const std::string& output) {
  train::RunOptions options;
  options.output = output;
  options.quiet = true;
  return options;
}

void begin(const std::string& output, int64_t total_steps, int64_t stop_at = 0,
           at::ScalarType dtype = at::kFloat) {
  std::filesystem::create_directories(output);
  train::TrainerState state = new_state(total_steps);
  model::LanguageModel model = tiny_model(state.model, dtype);
  train::Trainer trainer(model, state.train, copy_source(state.model), state.seed, total_steps);
  train::RunOptions options = options_of(output);
  options.stop_at = stop_at;
  train::run_training(trainer, state, copy_validation(state.model), options);
}

train::TrainerState resume(const std::string& output, int64_t stop_at = 0, at::ScalarType dtype = at::kFloat,
                           const std::atomic<bool>* stop = nullptr) {
  train::TrainerState state = train::load_trainer_state(train::checkpoint_folder(output));
  model::LanguageModel model(state.model, dtype);
  train::load_weights(train::checkpoint_folder(output), model);
  train::Trainer trainer(model, state.train, copy_source(state.model), state.seed, state.total_steps);
  train::load_optimizer(train::checkpoint_folder(output), model, trainer.optimizer());
  train::RunOptions options = options_of(output);
  options.stop_at = stop_at;
  options.is_new = false;
  options.stop = stop;
  train::run_training(trainer, state, copy_validation(state.model), options);
  return state;
}

void check_same_end(const std::string& a, const std::string& b) {
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "config.json"}) {
    CAPTURE(file);
    CHECK(bytes_of(train::checkpoint_folder(a) + "/" + file) ==
          bytes_of(train::checkpoint_folder(b) + "/" + file));
  }
  CHECK(metrics_of(a) == metrics_of(b));
}

}  // namespace

TEST_CASE("N steps, resume and N steps give the bits of 2N steps") {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const TemporaryFolder folder;
    begin(folder / "straight", 8, 0, dtype);
    // Stopped within the schedule of the residual blend and before a validation.
    begin(folder / "halved", 8, 4, dtype);
    CHECK(train::load_trainer_state(train::checkpoint_folder(folder / "halved")).step == 4);
    resume(folder / "halved", 5, dtype);
    const train::TrainerState end = resume(folder / "halved", 0, dtype);
    CHECK(end.step == 8);
    CHECK(end.sequences == 16);
    check_same_end(folder / "straight", folder / "halved");
    REQUIRE(end.valid_results.size() == 4);  // at 0, 3, 6 and the end
    CHECK(end.valid_results.back().step == 8);
  }
}

TEST_CASE("A stop that is asked for saves, and the run goes on as if there had been none") {
  const TemporaryFolder folder;
  begin(folder / "straight", 6);
  begin(folder / "stopped", 6, 2);
  const std::atomic<bool> stop{true};
  CHECK(resume(folder / "stopped", 0, at::kFloat, &stop).step == 2);
  resume(folder / "stopped");
  check_same_end(folder / "straight", folder / "stopped");
}

TEST_CASE("A stop within a validation saves at once, and the validation is made when the run goes on") {
  for (const int64_t stop_step : {0, 3, 8}) {
    CAPTURE(stop_step);
    const TemporaryFolder folder;
    begin(folder / "straight", 8);
    std::filesystem::create_directories(folder / "stopped");
    train::TrainerState state = new_state(8);
    model::LanguageModel model = tiny_model(state.model);
    train::Trainer trainer(model, state.train, copy_source(state.model), state.seed, 8);
    train::RunOptions options = options_of(folder / "stopped");
    std::atomic<bool> stop{false};
    options.stop = &stop;
    const train::ValidationPlan plan = copy_validation(state.model);
    int64_t batches = 0;
    const auto stopping_plan = [&](int64_t step) {
      std::vector<train::ValidationSource> sources = plan(step);
      if (step != stop_step) return sources;
      sources.front().batch = 1;
      sources.front().source.batch = [&, inner = sources.front().source.batch](int64_t consumed,
                                                                               int64_t rows) {
        ++batches;
        stop = true;
        return inner(consumed, rows);
      };
      return sources;
    };
    CHECK(train::run_training(trainer, state, stopping_plan, options) == train::RunEnd::interrupted);
    CHECK(batches == 1);  // of two
    const train::TrainerState saved = train::load_trainer_state(train::checkpoint_folder(folder / "stopped"));
    CHECK(saved.step == stop_step);
    CHECK((saved.valid_results.empty() || saved.valid_results.back().step < stop_step));
    const train::TrainerState end = resume(folder / "stopped");
    CHECK(end.valid_results.size() == 4);
    check_same_end(folder / "straight", folder / "stopped");
  }
}

TEST_CASE("A request to save is met before the next step, and the run goes on") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "run");
  train::TrainerState state = new_state(8);
  model::LanguageModel model = tiny_model(state.model);
  std::atomic<bool> save{false};
  std::vector<int64_t> saved;
  train::BatchSource source = copy_source(state.model);
  source.batch = [&, inner = source.batch](int64_t consumed, int64_t rows) {
    saved.push_back(train::load_trainer_state(train::checkpoint_folder(folder / "run")).step);
    save = state.step == 4;
    return inner(consumed, rows);
  };
  train::Trainer trainer(model, state.train, source, state.seed, 8);
  train::RunOptions options = options_of(folder / "run");
  options.save = &save;
  CHECK(train::run_training(trainer, state, copy_validation(state.model), options) ==
        train::RunEnd::finished);
  CHECK(saved == std::vector<int64_t>{0, 0, 0, 0, 0, 5, 5, 5});
}

TEST_CASE("The checkpoint has the documented files, names and shapes") {
  const TemporaryFolder folder;
  begin(folder / "run", 2);
  const std::string checkpoint = train::checkpoint_folder(folder / "run");
  // The header, read by hand: eight bytes of length, then JSON.
  const auto header_of = [&](const std::string& name) {
    const std::string bytes = bytes_of(checkpoint + "/" + name);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    REQUIRE(8 + length < bytes.size());
    return nlohmann::json::parse(bytes.substr(8, length));
  };
  const nlohmann::json model = header_of("model.safetensors"), optimizer = header_of("optimizer.safetensors");
  const std::vector<std::pair<std::string, std::vector<int64_t>>> expected = {
      {"tok_emb", {40, 32}},
      {"lower.1.attn.wq", {32, 32}},
      {"lower.0.mlp.w_gate", {48, 32}},
      {"lower.0.mlp.w_down", {32, 48}},
      {"enc.in_norm", {32}},
      {"enc.0.attn_norm", {32}},
      {"enc.out_norm", {32}},
      {"mem.wk", {16, 32}},
      {"group.1.query_norm", {32}},
      {"upper.2.gca.wo", {32, 32}},
      {"upper.0.gca_norm", {32}},
      {"out_norm", {32}}};
  for (const auto& pair : expected) {
    const auto& name = pair.first;
    const auto& shape = pair.second;
    CAPTURE(name);
    REQUIRE(model.contains(name));
    CHECK(model[name]["dtype"] == "F32");
    CHECK(model[name]["shape"] == shape);
    for (const char* moment : {"first_moment.", "second_moment."}) {
      REQUIRE(optimizer.contains(moment + name));
      CHECK(optimizer[moment + name]["shape"] == shape);
    }
  }
  const auto config = nlohmann::json::parse(bytes_of(checkpoint + "/config.json"));
  CHECK(config["hidden_size"] == 32);
  CHECK(nlohmann::json::parse(bytes_of(checkpoint + "/trainer_state.json"))["step"] == 2);
}

TEST_CASE("A checkpoint of other sizes, or a damaged one, is refused by name") {
  const TemporaryFolder folder;
  begin(folder / "run", 1);
  const std::string checkpoint = train::checkpoint_folder(folder / "run");
  model::ModelConfig other = tiny_config();
  other.d_ff = 64;
  model::LanguageModel model(other, at::kFloat);
  const auto error = error_of([&] { train::load_weights(checkpoint, model); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("lower.0.mlp.w_gate"));

  std::ofstream(checkpoint + "/trainer_state.json") << "{\"format\":\"gca.trainer_state/1\",\"step\":1}";
  CHECK(error_of([&] { train::load_trainer_state(checkpoint); })->says("damaged"));
  CHECK(error_of([&] { train::load_trainer_state(folder / "nowhere"); })->says("no checkpoint"));
}

TEST_CASE("Checkpoints are compared by the loss of the text, or by that of the only task") {
  const auto result = [](int64_t step, double loss, const std::string& task) {
    train::ValidationResult one;
    one.step = step;
    one.loss = loss;
    one.task = task;
    return one;
  };
  CHECK(std::isnan(train::loss_to_compare({})));
  CHECK(train::loss_to_compare({result(3, 2.5, "")}) == 2.5);
  CHECK(train::loss_to_compare({result(0, 9, "text"), result(3, 2.5, "text"), result(3, 1.5, "recall")}) ==
        2.5);
  CHECK(train::loss_to_compare({result(0, 9, "text"), result(3, 1.5, "recall")}) == 1.5);
  CHECK(std::isnan(train::loss_to_compare({result(3, 2.5, "passkey"), result(3, 1.5, "recall")})));
}

TEST_CASE("The state survives its JSON") {
  train::TrainerState state = new_state(9);
  state.step = 7;
  state.recent_losses = {0.1, 1.0 / 3.0};
  state.valid_results.push_back({7, 100, 1.5, 4.48, std::nan(""), 0.25, ""});
  state.train.tasks.set(tasks::kNeedleHops, 5);
  const auto json = train::trainer_state_to_json(state);
  // Settings of tasks stand among those of the training, as in every checkpoint so far.
  CHECK(json["train_config"]["needle_hops"] == 5);
  CHECK(json["train_config"]["copy_shifted"] == false);
  const train::TrainerState back = train::trainer_state_from_json(nlohmann::json::parse(json.dump()), "here");
  CHECK(train::trainer_state_to_json(back) == json);
  CHECK(back.recent_losses == state.recent_losses);
  CHECK(back.train.tasks[tasks::kNeedleHops] == 5);
  CHECK(std::isnan(back.valid_results[0].bits_per_byte));
}

TEST_CASE("Two runs into one folder are refused") {
  const TemporaryFolder folder;
  {
    const train::RunLock lock(folder.path());
    const auto error = error_of([&] { train::RunLock second(folder.path()); });
    REQUIRE(error);
    CHECK(error->is_usage());
  }
  const train::RunLock after(folder.path());
}

TEST_CASE("Minutes become steps with room for the validations") {
  // 100 s, two validations of 5 s at the ends, a step of 1 s, one validation in 10 steps: 90 / 1.5.
  CHECK(train::steps_within(100, 1.0, 5.0, 10) == 60);
  CHECK(train::steps_within(100, 1.0, 5.0, 0) == 90);
  CHECK(train::steps_within(1, 10.0, 0.0, 0) == 1);
}
