#include "lib/train/settings/run_config.h"

#include <doctest/doctest.h>

#include <fstream>

#include "lib/tasks/needles/needle_task.h"
#include "lib/train/checkpoints/resume_rules.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;

TEST_CASE("A preset sets the model's keys and the training's") {
  train::RunConfig config;
  config.read("nano");
  CHECK(config.model.d_model == 64);
  CHECK(config.train.context == 512);
  CHECK(config.explicit_keys.empty());
}

TEST_CASE("--set reads numbers, sizes, switches and lists of either half") {
  train::RunConfig config;
  config.set_from_flag("chunk_size=32");
  config.set_from_flag("learning_rate=1e-3");
  config.set_from_flag("context=4K");
  config.set_from_flag("gumbel_noise=false");
  config.set_from_flag("alibi_slopes=[1, 0.5]");
  config.set_from_flag("long_range=none");
  config.set_from_flag("needle_hops=1K");
  config.set_from_flag("needle_text_targets=true");
  CHECK(config.model.chunk_size == 32);
  CHECK(config.train.learning_rate == 1e-3);
  CHECK(config.train.context == 4096);
  CHECK(!config.train.gumbel_noise);
  CHECK(config.model.alibi_slopes == std::vector<double>{1, 0.5});
  CHECK(config.model.long_range == "none");
  CHECK(config.train.tasks[tasks::kNeedleHops] == 1024);
  CHECK(config.to_json()["needle_text_targets"] == true);
  CHECK(config.explicit_keys.contains("chunk_size"));
}

TEST_CASE("A wrong setting is named, with what would be right") {
  train::RunConfig config;
  const auto unknown = error_of([&] { config.set_from_flag("learning_rat=1"); });
  REQUIRE(unknown);
  CHECK(unknown->is_usage());
  CHECK(unknown->says("'learning_rate'"));
  CHECK(error_of([&] { config.set_from_flag("learning_rate=fast"); })->says("learning_rate"));
  CHECK(error_of([&] { config.set_from_flag("learning_rate"); })->says("KEY=VALUE"));
  CHECK(error_of([&] { config.read("huge"); })->says("nano, mini, small"));
  config.train.batch = 0;
  CHECK(error_of([&] { config.train.validate("--set"); })->says("batch"));
  CHECK(error_of([&] { config.set_from_flag("needle_hop=1"); })->says("'needle_hops'"));
  CHECK(error_of([&] { config.set_from_flag("needle_text_targets=1"); })->says("needle_text_targets"));
  train::RunConfig out_of_range;
  out_of_range.set_from_flag("needle_hops=0");
  CHECK(error_of([&] { out_of_range.train.validate("--set"); })->says("needle_hops is out of range"));
}

TEST_CASE("A file that is not a JSON object is refused") {
  const TemporaryFolder folder;
  std::ofstream(folder / "list.json") << "[1]";
  train::RunConfig config;
  CHECK(error_of([&] { config.read(folder / "list.json"); })->says("list.json"));
}

TEST_CASE("Every setting tells where it comes from, and the report of a run gives its settings") {
  const TemporaryFolder folder;
  train::RunConfig config;
  config.read("nano");
  config.set_from_flag("learning_rate=0.5");
  config.set_from_flag("batch=3", "--batch");
  CHECK(config.sources.at("hidden_size") == "preset nano");
  CHECK(config.sources.at("learning_rate") == "--set");
  CHECK(config.sources.at("batch") == "--batch");
  CHECK(!config.sources.contains("seed"));

  nlohmann::json report;
  report["schema"] = "gca.pretrain/1";
  report["config"] = config.to_json();
  report["config"]["data"] = "books";  // what a report tells beside the settings
  std::ofstream(folder / "report.json") << report;
  train::RunConfig again;
  again.read(folder / "report.json");
  CHECK(again.to_json() == config.to_json());
  CHECK(again.sources.at("batch") == folder / "report.json");

  std::ofstream(folder / "bad.json") << R"({"schema": "gca.pretrain/1"})";
  CHECK(error_of([&] { again.read(folder / "bad.json"); })->says("without a configuration"));
}

TEST_CASE("A resumed run may look and save at other times, and nothing else") {
  train::TrainerState state;
  state.model.vocab_size = 50;
  state.train.learning_rate = 1e-3;
  const auto resumed = [&](const std::string& preset, const std::vector<std::string>& settings) {
    train::RunConfig asked = train::recorded_config(state);
    if (!preset.empty()) asked.read(preset);
    for (const std::string& assignment : settings) asked.set_from_flag(assignment);
    return train::resumed_config(state, asked, {});
  };
  CHECK(resumed("", {"eval_interval=7", "learning_rate=0.001"}).train.eval_interval == 7);
  const auto error = error_of([&] { resumed("", {"learning_rate=0.002"}); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("learning_rate is 0.001"));
  CHECK(error_of([&] { resumed("", {"hidden_size=64"}); })->says("hidden_size"));
  CHECK(error_of([&] { resumed("nano", {}); }));
}

TEST_CASE("A resumed run must read the same data") {
  train::TrainerState state;
  state.data = {"books"};
  state.data_fingerprint = std::string(64, 'a');
  train::require_same_data(state, state.data, std::string(64, 'a'));
  const auto error = error_of([&] { train::require_same_data(state, state.data, "b"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("books"));
}
