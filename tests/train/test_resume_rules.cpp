#include "lib/train/checkpoints/resume_rules.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/error_of.h"

using namespace gca;
using namespace gca::train;

namespace {

/// A cosine from 1e-3 to 1e-4 without warm-up, at its end.
TrainerState finished_run() {
  TrainerState state;
  state.train.learning_rate = 1e-3;
  state.train.min_learning_rate = 1e-4;
  state.train.warmup_fraction = 0;
  state.step = state.total_steps = 12;
  return state;
}

RunConfig with_changes(const TrainerState& state, const std::vector<std::string>& changes) {
  return resumed_config(state, recorded_config(state), changes);
}

}  // namespace

TEST_CASE("A run that goes on without anything new has no changes") {
  TrainerState state = finished_run();
  state.step = 7;
  CHECK(changes_of(state, state.train, 12).empty());
  CHECK(change_remarks({}, state, state.train, 12) == "");
}

TEST_CASE("More steps stretch the schedule: old and new rate are told, and how to stay") {
  const TrainerState state = finished_run();
  const auto changes = changes_of(state, state.train, 24);
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].step == 12);
  CHECK(changes[0].key == "steps");
  CHECK(changes[0].from == 12);
  CHECK(changes[0].to == 24);
  const double pi = std::acos(-1.0);
  CHECK(changes[0].rate_before == doctest::Approx(1e-4 + 4.5e-4 * (1 + std::cos(pi * 11 / 12))));
  CHECK(changes[0].rate_after == doctest::Approx(5.5e-4));  // half way of 24 steps
  const std::string remarks = change_remarks(changes, state, state.train, 24);
  CHECK(remarks.find("from 0.0001153 at step 12 to 0.00055 at step 13") != std::string::npos);
  CHECK(remarks.find("--change schedule_steps=12") != std::string::npos);

  const RunConfig stays = with_changes(state, {"schedule_steps=12"});
  const auto staying = changes_of(state, stays.train, 24);
  REQUIRE(staying.size() == 2);
  CHECK(staying[1].key == "schedule_steps");
  CHECK(staying[1].rate_after == 1e-4);
  CHECK(change_remarks(staying, state, stays.train, 24).find("--change") == std::string::npos);
}

TEST_CASE("Settings of the optimizer change where it is asked for, others never") {
  TrainerState state = finished_run();
  const RunConfig changed =
      with_changes(state, {"learning_rate=0.5", "gradient_clip=2", "adam_beta2=0.9", "schedule=constant"});
  CHECK(changed.train.learning_rate == 0.5);
  CHECK(changed.train.gradient_clip == 2);
  CHECK(changed.train.adam_beta2 == 0.9);
  CHECK(changed.train.schedule == "constant");

  const auto refuses = [&](const std::string& change, const char* words) {
    const auto error = error_of([&] { with_changes(state, {change}); });
    CAPTURE(change);
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says(words));
  };
  refuses("batch=4", "these can: learning_rate");
  refuses("hidden_size=4", "cannot change");
  refuses("eval_interval=4", "use --set");
  refuses("learning_rat=4", "did you mean 'learning_rate'");
  refuses("learning_rate", "--change KEY=VALUE");
  refuses("learning_rate=fast", "a number");

  // Without --change it is refused, with the words that would do it.
  RunConfig asked = recorded_config(state);
  asked.set_from_flag("learning_rate=0.5");
  const auto error = error_of([&] { resumed_config(state, asked, {}); });
  REQUIRE(error);
  CHECK(error->says("--change learning_rate=0.5"));
}

TEST_CASE("Phases that say what the learning rate is leave nothing to change about it") {
  TrainerState state = finished_run();
  state.phases = nlohmann::json::parse(
      R"({"phases": [{"learning_rate": 1e-3, "tasks": [{"task": "text"}]},
                     {"tasks": [{"task": "text", "learning_rate": [1, 0]}]}]})");
  CHECK(error_of([&] { with_changes(state, {"learning_rate=0.5"}); })->says("phases"));
  CHECK(error_of([&] { with_changes(state, {"schedule=wsd"}); })->says("phases"));
  CHECK(with_changes(state, {"weight_decay=0.5"}).train.weight_decay == 0.5);
  state.phases["phases"][1]["tasks"][0].erase("learning_rate");
  const RunConfig changed = with_changes(state, {"learning_rate=0.5"});
  CHECK(changed.train.learning_rate == 0.5);
  CHECK(std::isnan(changes_of(state, changed.train, 12).at(0).rate_after));
}

TEST_CASE("Changes survive their JSON") {
  TrainerState state = finished_run();
  state.changes = {{3, "learning_rate", 1e-3, 5e-4, 1e-3, std::nan("")},
                   {4, "schedule", "cosine", "wsd", 1, 2}};
  const auto json = trainer_state_to_json(state);
  const TrainerState back = trainer_state_from_json(nlohmann::json::parse(json.dump()), "here");
  CHECK(trainer_state_to_json(back) == json);
  REQUIRE(back.changes.size() == 2);
  CHECK(back.changes[0].to == 5e-4);
  CHECK(std::isnan(back.changes[0].rate_after));
}
