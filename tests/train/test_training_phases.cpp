#include "lib/train/settings/training_phases.h"

#include <doctest/doctest.h>

#include <map>

#include "lib/tasks/needles/needle_task.h"
#include "tests/support/error_of.h"

using namespace gca;

namespace {

train::RunConfig base() {
  train::RunConfig config;
  config.read("nano");
  config.model.vocab_size = 100;
  config.train.batch = 3;
  config.train.learning_rate = 5e-4;
  return config;
}

train::TrainingPhases phases(const std::string& text) {
  return {nlohmann::json::parse(text), base(), "plan.json"};
}

}  // namespace

TEST_CASE("What is given as a pair moves evenly, what is left out is as configured") {
  const train::TrainingPhases plan = phases(R"({"phases": [
    {"name": "a", "steps": 5, "residual_blend": [1, 0], "weight_rounding": [0.1, 0.5], "sliding_window": [8, 16], "chunk_size": 8,
     "tasks": [{"task": "self-copy", "batch": 7, "chunk_top_k": 3}]},
    {"name": "b", "steps": 1, "learning_rate": [1, 0.25], "gumbel_scale": 0, "tasks": [{"task": "text", "chunks": 4}]}
  ]})");
  REQUIRE(plan.total_steps() == 6);
  const double blends[] = {1, 0.75, 0.5, 0.25, 0};
  const int64_t windows[] = {8, 10, 12, 14, 16};
  for (int64_t step = 0; step < 5; ++step) {
    const train::StepSettings settings = plan.at(step);
    CHECK(settings.model.residual_blend == doctest::Approx(blends[step]));
    CHECK(settings.train.weight_rounding == doctest::Approx(0.1 + 0.1 * static_cast<double>(step)));
    CHECK(settings.model.window_size == windows[step]);
    CHECK(settings.model.chunk_size == 8);
    CHECK(settings.model.chunk_top_k == 3);
    CHECK(settings.train.batch == 7);
    CHECK(settings.learning_rate == 5e-4);
    CHECK(settings.model.gumbel_scale == 1.0);
  }
  const train::StepSettings last = plan.at(5);  // a phase of one step is at its end
  CHECK(last.learning_rate == 0.25);
  CHECK(last.model.gumbel_scale == 0.0);
  CHECK(last.train.weight_rounding == 0.0);
  CHECK(last.model.chunk_size == base().model.chunk_size);
  CHECK(last.model.chunk_top_k == base().model.chunk_top_k);
  CHECK(last.train.batch == 3);
  CHECK(plan.phases()[1].tasks[0].config.train.context == 4 * base().model.chunk_text_size());
}

TEST_CASE("What a phase may set, and what may move, is what the tables of settings say") {
  const nlohmann::ordered_json values = base().to_json();
  const auto error_with = [&](const std::string& key, const nlohmann::json& value) {
    nlohmann::json phase = {{"name", "a"}, {"steps", 3}, {"tasks", {{{"task", "self-copy"}}}}};
    phase[key] = value;
    return error_of([&] { phases(nlohmann::json{{"phases", {phase}}}.dump()); });
  };
  const auto check = [&](const auto& fields) {
    for (const auto& field : fields) {
      const std::string key = field.key;
      CAPTURE(key);
      const auto alone = error_with(key, values.at(key));
      CHECK((alone && alone->says("cannot change")) == (field.change == Change::never));
      if (field.change == Change::never) continue;
      CHECK(!alone);
      const auto pair = error_with(key, {values.at(key), values.at(key)});
      CHECK(!pair == (field.change == Change::ramp));
    }
  };
  check(model::model_config_fields());
  check(train::train_config_fields());
}

TEST_CASE("Tasks take turns by their shares, and a task goes on in its sequences") {
  const train::TrainingPhases plan = phases(R"({"phases": [
    {"name": "a", "steps": 100, "context": 64, "tasks": [
      {"task": "text", "share": 1, "batch": 2}, {"task": "passkey", "share": 3}, {"task": "self-copy", "share": 1}]},
    {"name": "b", "steps": 10, "context": 64, "tasks": [{"task": "text"}]},
    {"name": "c", "steps": 4, "context": 128, "tasks": [{"task": "text"}, {"task": "self-copy"}]}
  ]})");
  std::map<size_t, int64_t> steps;
  std::map<std::string, int64_t> sequences;
  int64_t consumed = 0;
  for (int64_t step = 0; step < 114; ++step) {
    const train::PhaseStep& place = plan.where(step);
    CHECK(place.phase == (step < 100 ? 0U : step < 110 ? 1U : 2U));
    CHECK(place.step == (step < 110 ? step % 100 : step - 110));
    // Of another length, text is cut otherwise, and so its sequences are others.
    const std::string stream =
        plan.phases()[place.phase].tasks[place.task].task + (step < 110 ? "" : ", long");
    CHECK(place.sequences == consumed);
    CHECK(place.stream_sequences == sequences[stream]);
    for (int64_t row = 0; row < plan.at(step).train.batch; ++row)
      CHECK(plan.step_after(consumed + row) == step);
    if (step < 100) {
      ++steps[place.task];
      // Never more than a step from its share.
      CHECK(std::abs(static_cast<double>(steps[1]) - 0.6 * static_cast<double>(step + 1)) <= 1.0);
    }
    sequences[stream] += plan.at(step).train.batch;
    consumed += plan.at(step).train.batch;
  }
  CHECK(steps == std::map<size_t, int64_t>{{0, 20}, {1, 60}, {2, 20}});
}

TEST_CASE("The largest step and the tokens of all steps follow from what the data makes of each task") {
  train::TrainingPhases plan = phases(R"({"phases": [
    {"name": "a", "steps": 4, "context": 64, "tasks": [{"task": "text", "batch": 2}, {"task": "passkey", "batch": 5}]},
    {"name": "b", "steps": 3, "context": 100, "tasks": [{"task": "recall"}]}
  ]})");
  CHECK(plan.largest_task().task == "passkey");  // 5 * 64 tokens at once; 3 * 100
  CHECK(plan.total_tokens() == 2 * 2 * 64 + 2 * 5 * 64 + 3 * 3 * 100);
  plan.set_context(0, 0, 1000);
  CHECK(plan.largest_task().task == "text");
  CHECK(plan.total_tokens() == 2 * 2 * 1000 + 2 * 5 * 64 + 3 * 3 * 100);
}

TEST_CASE("A checkpoint keeps the settings of its phase's first task") {
  const train::TrainingPhases plan = phases(R"({"phases": [
    {"name": "a", "steps": 4, "chunk_size": 16, "sliding_window": [4, 16], "tasks": [
      {"task": "self-copy"}, {"task": "self-copy", "chunk_size": 8, "chunk_top_k": 2}]},
    {"name": "b", "steps": 3, "chunk_size": 32, "tasks": [{"task": "self-copy"}]}
  ]})");
  for (const int64_t steps : {0, 1, 2, 3, 4}) {
    CAPTURE(steps);
    CHECK(plan.kept_after(steps).model.chunk_size == 16);
    CHECK(plan.kept_after(steps).model.chunk_top_k == base().model.chunk_top_k);
    CHECK(plan.kept_after(steps).model.window_size == (steps == 0 ? 4 : 4 * steps));
  }
  CHECK(plan.kept_after(5).model.chunk_size == 32);
  CHECK(plan.kept_after(7).model.chunk_size == 32);
}

TEST_CASE("A task's own setting wins over its phase's") {
  const train::TrainingPhases plan = phases(R"({"phases": [
    {"name": "a", "steps": 2, "chunks": 8, "learning_rate": 0.1, "needle_distractors": 5, "tasks": [
      {"task": "multikey", "needle_distractors": 9}, {"task": "multikey", "context": 100, "learning_rate": 0.2}]}
  ]})");
  const auto& tasks = plan.phases()[0].tasks;
  CHECK(tasks[0].config.train.tasks[tasks::kNeedleDistractors] == 9);
  CHECK(tasks[1].config.train.tasks[tasks::kNeedleDistractors] == 5);
  CHECK(tasks[0].config.train.context == 8 * base().model.chunk_text_size());
  CHECK(tasks[1].config.train.context == 100);
  CHECK(plan.at(0).learning_rate == 0.1);
  CHECK(plan.at(1).learning_rate == 0.2);
}

TEST_CASE("A file that cannot be meant is refused with what is wrong") {
  const auto refuses = [](const std::string& text, const std::string& says) {
    const auto error = error_of([&] { phases(text); });
    REQUIRE(error.has_value());
    CAPTURE(error->message);
    CHECK(error->is_usage());
    CHECK(error->says(says));
  };
  const std::string task = R"("tasks": [{"task": "self-copy"}])";
  refuses(R"({})", "no phases");
  refuses(R"({"phases": []})", "no phases");
  refuses(R"({"phase": [1]})", "unknown key");
  refuses(R"({"phases": [{"steps": 3, )" + task + "}]}", "name");
  refuses(R"({"phases": [{"name": "a", )" + task + "}]}", "steps");
  refuses(R"({"phases": [{"name": "a", "steps": 0, )" + task + "}]}", "steps");
  refuses(R"({"phases": [{"name": "a", "steps": 3}]})", "tasks");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "chunks": 8, "context": 64, )" + task + "}]}", "both");
  refuses(R"({"phases": [{"name": "a", "steps": 99999999999, )" + task + "}]}", "more than 10000000 steps");
  refuses(R"({"phases": [{"name": "a", "steps": 9000000, )" + task +
              R"(}, {"name": "b", "steps": 9000000, )" + task + "}]}",
          "more than 10000000 steps");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "tasks": [{"task": "passkeys"}]}]})",
          "did you mean passkey");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "tasks": [{"task": "passkey"}]}]})", "no length");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "window": 3, )" + task + "}]}", "did you mean");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "hidden_size": 32, )" + task + "}]}", "cannot change");
  for (const char* of_the_run : {"gradient_accumulation", "weight_decay", "rms_norm_eps", "eval_interval"})
    refuses(
        R"({"phases": [{"name": "a", "steps": 3, ")" + std::string(of_the_run) + R"(": 1, )" + task + "}]}",
        "cannot change");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "residual_blend": [1, 2, 3], )" + task + "}]}",
          "[FROM, TO]");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "residual_blend": [1, -1], )" + task + "}]}",
          "residual_blend");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "weight_rounding": [0.5, 1.5], )" + task + "}]}",
          "weight_rounding");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "sliding_window": [8, 1e30], )" + task + "}]}",
          "sliding_window is 1e+30");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "sliding_window": [8, 0], )" + task + "}]}",
          "sliding_window");
  refuses(R"({"phases": [{"name": "a", "steps": 3, "tasks": [{"task": "self-copy", "share": 0}]}]})",
          "share");
  const auto refuses_until = [&](const std::string& until, const std::string& says) {
    refuses(
        R"({"phases": [{"name": "a", "steps": 3, "until": )" + until +
            R"(, "tasks": [{"task": "text", "context": 64}, {"task": "self-copy"}]}, {"name": "b", "steps": 1, )" +
            task + "}]}",
        says);
  };
  refuses_until("0.9", "not a JSON object");
  refuses_until(R"({"task": "passkey", "accuracy": 0.9, "every": 1})", "does not have");
  refuses_until(R"({"task": "text", "accuracy": 0.9, "every": 1})", "not right or wrong");
  refuses_until(R"({"accuracy": 0.9, "every": 1})", "task");
  refuses_until(R"({"task": "self-copy", "every": 1})", "accuracy is missing");
  refuses_until(R"({"task": "self-copy", "accuracy": 90, "every": 1})", "accuracy is 90");
  refuses_until(R"({"task": "self-copy", "accuracy": 0.9, "every": 0})", "every");
  refuses_until(R"({"task": "self-copy", "accuracy": 0.9, "every": 4})", "the phase has 3 steps");
  refuses_until(R"({"task": "self-copy", "accuracy": 0.9, "every": 1, "steps": 2})", "unknown key");
  refuses(
      R"({"phases": [{"name": "a", "steps": 3, "until": {"task": "self-copy", "accuracy": 0.9, "every": 1}, )" +
          task + "}]}",
      "last phase");
  for (const char* name : {R"("")", R"("a/b")", R"("..")", R"("best")", R"("step-5")", "7"})
    refuses(R"({"phases": [{"name": "a", "steps": 3, "keep": )" + std::string(name) + ", " + task + "}]}",
            "keep is");
}

TEST_CASE("A phase that keeps its checkpoint does so after its last step, wherever that comes to be") {
  train::TrainingPhases plan = phases(R"({"phases": [
    {"name": "a", "steps": 6, "keep": "after_a-1", "tasks": [{"task": "self-copy"}],
     "until": {"task": "self-copy", "accuracy": 0.9, "every": 2}},
    {"name": "b", "steps": 2, "tasks": [{"task": "text", "chunks": 4}]}]})");
  const auto kept_after = [&](int64_t steps) {
    const train::TrainingPhase* ended = plan.phase_ended_by(steps);
    return ended == nullptr ? "no end" : ended->kept_as;
  };
  for (const int64_t steps : {0, 1, 2, 5, 7}) CHECK(kept_after(steps) == "no end");
  CHECK(kept_after(6) == "after_a-1");
  CHECK(kept_after(8).empty());
  plan.end_phase(2);
  CHECK(kept_after(2) == "after_a-1");
  CHECK(kept_after(6) == "no end");
}

TEST_CASE("A phase ends where its goal is met, and the last one takes the steps that are left") {
  const std::string text = R"({"phases": [
    {"name": "a", "steps": 20, "tasks": [{"task": "text", "chunks": 4}, {"task": "self-copy", "batch": 2}],
     "until": {"task": "self-copy", "accuracy": 0.9, "every": 5}},
    {"name": "b", "steps": 4, "learning_rate": [1, 0], "tasks": [{"task": "text", "chunks": 4}]},
    {"name": "c", "steps": 6, "learning_rate": [1, 0], "tasks": [{"task": "text", "chunks": 4}]}]})";
  train::TrainingPhases plan = phases(text);
  for (int64_t steps = 0; steps <= plan.total_steps(); ++steps) {
    const auto goal = plan.goal_due(steps);
    // Not at the phase's own end, where nothing is left to decide.
    CHECK(goal.has_value() == (steps == 5 || steps == 10 || steps == 15));
    if (!goal) continue;
    CHECK(goal->task == 1);
    CHECK(goal->accuracy == 0.9);
  }
  const train::PhaseStep before = plan.where(9);
  plan.end_phase(10);
  CHECK(plan.total_steps() == 30);
  CHECK(!plan.goal_due(10));
  CHECK(plan.where(9).sequences == before.sequences);
  CHECK(plan.where(10).phase == 1);
  CHECK(plan.where(10).sequences == 25);  // five steps of each task
  CHECK(plan.where(10).stream_sequences == 15);
  CHECK(plan.at(13).learning_rate == 0);
  CHECK(plan.where(14).phase == 2);
  CHECK(plan.at(14).learning_rate == 1);
  CHECK(plan.at(29).learning_rate == 0);

  // A run that goes on reads it from what was kept.
  train::TrainingPhases kept(plan.json(), base(), "kept");
  for (int64_t step = 0; step < 30; ++step) {
    CHECK(kept.where(step).phase == plan.where(step).phase);
    CHECK(kept.where(step).stream_sequences == plan.where(step).stream_sequences);
    CHECK(kept.at(step).learning_rate == plan.at(step).learning_rate);
  }
}

TEST_CASE("The sequences of a stream are those of its steps so far") {
  const train::TrainingPhases plan = phases(R"({"phases": [
    {"name": "a", "steps": 5, "tasks": [{"task": "text", "chunks": 4, "batch": 2, "share": 2},
                                        {"task": "self-copy", "batch": 3}]},
    {"name": "b", "steps": 2, "tasks": [{"task": "text", "chunks": 5}]},
    {"name": "c", "steps": 3, "tasks": [{"task": "text", "chunks": 4, "batch": 5}]}]})");
  REQUIRE(plan.stream_count() == 3);
  std::map<size_t, int64_t> counted;
  int64_t sequences = 0;
  for (int64_t step = 0; step < plan.total_steps(); ++step) {
    const train::PhaseStep& place = plan.where(step);
    const int64_t batch = plan.at(step).train.batch;
    for (int64_t i = 0; i < batch; ++i) {
      ++sequences;
      ++counted[plan.phases()[place.phase].tasks[place.task].stream];
      for (size_t stream = 0; stream < 3; ++stream)
        REQUIRE(plan.sequences_of_stream(stream, sequences) == counted[stream]);
    }
  }
  CHECK(plan.phases()[0].tasks[0].stream == plan.phases()[2].tasks[0].stream);
  CHECK(plan.sequences_of_stream(0, 0) == 0);
  CHECK(plan.total_sequences() == sequences);
}
