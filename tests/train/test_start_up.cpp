#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <filesystem>
#include <numeric>

#include "lib/core/files/atomic_file.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/train/checkpoints/start_up_weights.h"
#include "lib/train/settings/start_up_curriculum.h"
#include "lib/train/settings/training_phases.h"
#include "tests/support/doctest.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_training.h"
#include "tests/support/write_file.h"

using namespace gca;
using namespace gca::testing;

namespace {

train::RunConfig tiny_run_config() {
  train::RunConfig config;
  config.model = tiny_config();
  config.train = tiny_train_config();
  config.train.context = 140;
  return config;
}

at::Tensor master_of(const model::LanguageModel& model, const std::string& name) {
  for (const model::Weight& weight : model.weights())
    if (weight.name == name) return weight.master.detach();
  FAIL("no weight " << name);
  return {};
}

/// The rows of text of an embedding whose landmark is the last row.
at::Tensor text_rows(const at::Tensor& embedding) {
  return embedding.slice(0, 0, embedding.size(0) - 1).to(at::kDouble);
}

/// The checkpoint `from` with its embedding replaced by its statistics, written with plain means.
void strip_embedding(const std::string& from, const std::string& to) {
  const SafetensorsFile file(from + "/model.safetensors");
  const SafetensorsEntry& embedding = file.at("tok_emb");
  const int64_t rows = embedding.shape[0], d = embedding.shape[1];
  const auto* values = reinterpret_cast<const float*>(embedding.data);
  std::vector<float> mean, deviation;
  for (int64_t j = 0; j < d; ++j) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i + 1 < rows; ++i) sum += values[i * d + j];
    const double average = sum / static_cast<double>(rows - 1);
    for (int64_t i = 0; i + 1 < rows; ++i)
      squares += (values[i * d + j] - average) * (values[i * d + j] - average);
    mean.push_back(static_cast<float>(average));
    deviation.push_back(static_cast<float>(std::sqrt(squares / static_cast<double>(rows - 1))));
  }
  std::vector<SafetensorsTensor> tensors = {{"tok_emb.mean", "F32", {d}, mean.data()},
                                            {"tok_emb.deviation", "F32", {d}, deviation.data()},
                                            {"tok_emb.landmark", "F32", {d}, values + (rows - 1) * d}};
  for (const auto& [name, entry] : file.entries())
    if (name != "tok_emb") tensors.push_back({name, entry.dtype, entry.shape, entry.data});
  std::filesystem::create_directories(to);
  write_safetensors(to + "/model.safetensors", tensors, {});
  std::filesystem::copy_file(from + "/config.json", to + "/config.json");
}

/// Tiny start-up weights in `folder`/given, and without their embedding in `folder`/shipped.
struct StartUpFolders {
  TemporaryFolder folder;
  model::LanguageModel source = tiny_model(tiny_config(), at::kFloat, 9);

  StartUpFolders() {
    const at::NoGradGuard no_grad;
    for (model::Weight& weight : source.weights())
      if (weight.name == "tok_emb") weight.master.mul_(2.0).add_(0.5);
    std::filesystem::create_directories(folder / "given");
    model::save_model(source, folder / "given");
    strip_embedding(folder / "given", folder / "root/shipped");
  }
};

}  // namespace

TEST_CASE(
    "A curriculum has the steps of the run, ends at the floor of the learning rate and drops ever fewer "
    "sequences, none at last") {
  const train::RunConfig config = tiny_run_config();
  for (const int64_t total : {1, 2, 7, 40, 3150, 200'000}) {
    CAPTURE(total);
    const train::TrainingPhases phases(train::start_up_curriculum(config, total), config, "curriculum");
    REQUIRE(phases.total_steps() == total);
    if (total < 40) continue;
    CHECK(phases.at(0).learning_rate == doctest::Approx(config.train.learning_rate / 4));
    CHECK(phases.at(total - 1).learning_rate == doctest::Approx(config.train.min_learning_rate));
    double dropout = 1;
    int64_t repeats = 0;
    for (int64_t step = 0; step < total; ++step) {
      const train::PhaseStep& place = phases.where(step);
      const std::string& task = phases.phases()[place.phase].tasks[place.task].task;
      if (task == "recall") {
        ++repeats;
        continue;
      }
      const double here = phases.at(step).train.retrieval_dropout;
      CHECK(here <= dropout);
      CHECK(here >= 0);
      dropout = here;
    }
    CHECK(dropout == 0);
    CHECK(phases.at(0).model.gumbel_scale > phases.at(total - 1).model.gumbel_scale);
    CHECK(repeats > 0);
    CHECK(static_cast<double>(repeats) < 0.3 * static_cast<double>(total));
  }
}

TEST_CASE(
    "Training a start-up ends with rounded weights, keeps itself, and has the run's peak of the learning "
    "rate") {
  train::RunConfig config = tiny_run_config();
  for (const double peak : {0.002, 0.0005}) {
    CAPTURE(peak);
    config.train.learning_rate = peak;
    nlohmann::json plan = train::start_up_training(config);
    const size_t text = plan["phases"].size();
    plan["phases"].push_back(
        {{"name", "text"}, {"steps", 1}, {"context", 140}, {"tasks", {{{"task", "text"}}}}});
    const train::TrainingPhases phases(plan, config, "start-up");
    double highest = 0;
    for (int64_t step = 0; step + 1 < phases.total_steps(); ++step)
      highest = std::max(highest, phases.at(step).learning_rate);
    CHECK(highest == doctest::Approx(peak));
    for (size_t phase = 0; phase <= text; ++phase)
      CHECK(phases.phases()[phase].kept_as == (phase + 1 == text ? "start-up" : ""));
    const int64_t last = phases.total_steps() - 2;
    CHECK(phases.at(last).train.weight_rounding == 0.3);
    CHECK(phases.at(last).model.residual_blend == 0);
    CHECK(phases.phases()[text - 1].goal.has_value());
  }
}

TEST_CASE("A curriculum leaves alone what was set by hand") {
  train::RunConfig config = tiny_run_config();
  config.set_from_flag("weight_rounding=0");
  config.set_from_flag("retrieval_dropout=0.5");
  config.set_from_flag("gumbel_scale=0.7");
  const train::TrainingPhases phases(train::start_up_curriculum(config, 500), config, "curriculum");
  for (const int64_t step : {0, 250, 499}) {
    CHECK(phases.at(step).train.weight_rounding == 0);
    CHECK(phases.at(step).train.retrieval_dropout == 0.5);
    CHECK(phases.at(step).model.gumbel_scale == 0.7);
  }
}

TEST_CASE("Start-up weights keep every layer and the landmark, and draw an embedding of another size alike") {
  const StartUpFolders start;
  model::ModelConfig config = tiny_config();
  config.vocab_size = 5001;
  config.window_size = 20;  // no weight depends on it, nor on the sizes of chunks
  config.chunk_size = 16;
  for (const char* name : {"given", "root/shipped"}) {
    CAPTURE(name);
    model::LanguageModel model(config, at::kFloat);
    train::load_start_up(start.folder / name, model, 3);
    for (const model::Weight& weight : model.weights())
      if (weight.name != "tok_emb") CHECK(weight.master.equal(master_of(start.source, weight.name)));
    const at::Tensor drawn = master_of(model, "tok_emb"), old = master_of(start.source, "tok_emb");
    CHECK(drawn[5000].equal(old[39]));
    // 5000 normals: the mean is within five standard errors, the deviation within 5 %.
    const at::Tensor error = (text_rows(drawn).mean(0) - text_rows(old).mean(0)).abs();
    const at::Tensor deviation = text_rows(old).std(0, /*unbiased=*/false);
    CHECK((error / (deviation / std::sqrt(5000.0))).max().item<double>() < 5);
    CHECK((text_rows(drawn).std(0, false) / deviation - 1).abs().max().item<double>() < 0.05);

    model::LanguageModel again(config, at::kFloat), other(config, at::kFloat);
    train::load_start_up(start.folder / name, again, 3);
    train::load_start_up(start.folder / name, other, 4);
    CHECK(master_of(again, "tok_emb").equal(drawn));
    CHECK_FALSE(master_of(other, "tok_emb").equal(drawn));
  }
}

TEST_CASE("Start-up weights are found by the sizes of the layers, and refused for others") {
  const StartUpFolders start;
  model::ModelConfig config = tiny_config();
  config.vocab_size = 77;
  config.chunk_size = 32;
  config.d_ff = 48;
  CHECK(train::find_start_up(start.folder / "root", config) == start.folder / "root/shipped");
  CHECK(train::find_start_up(start.folder / "none", config).empty());
  config.n_upper_layers = 2;
  CHECK(train::find_start_up(start.folder / "root", config).empty());
  model::LanguageModel model(config, at::kFloat);
  const auto error = error_of([&] { train::load_start_up(start.folder / "given", model, 1); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("other sizes"));

  // A damaged file is named.
  const std::string path = start.folder / "given/model.safetensors";
  std::string content = gca::read_file(path);
  content[content.size() - 5] = static_cast<char>(content[content.size() - 5] ^ 4);
  write_file(path, content);
  model::LanguageModel same(tiny_config(), at::kFloat);
  const auto damage = error_of([&] { train::load_start_up(start.folder / "given", same, 1); });
  REQUIRE(damage);
  CHECK(damage->says("model.safetensors"));
}

TEST_CASE("The start-up weights that are shipped fit the presets that ask for them") {
  const std::string root = std::string(GCA_SOURCE_DIR) + "/lib/train/start_up";
  for (const char* preset : {"nano", "mini", "small", "128m", "350m"}) {
    CAPTURE(preset);
    train::RunConfig config;
    config.read(preset);
    if (config.train.start_up == train::kNoStartUp) continue;
    config.model.vocab_size = 300;
    const std::string folder = train::find_start_up(root, config.model);
    REQUIRE_FALSE(folder.empty());
    model::LanguageModel model(config.model, at::kFloat);
    train::load_start_up(folder, model, 1);
  }
}
