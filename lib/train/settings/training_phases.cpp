#include "lib/train/settings/training_phases.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/tasks/task_kinds.h"

namespace gca::train {
namespace {

using Json = nlohmann::json;

/// How the setting `key` may change; unknown keys never.
Change change_of(const std::string& key) {
  if (tasks::find_task_setting(key) != nullptr) return Change::per_phase;
  const auto find = [&](const auto& fields) {
    for (const auto& field : fields)
      if (key == field.key) return field.change;
    return Change::never;
  };
  const Change of_model = find(model::model_config_fields());
  return of_model != Change::never ? of_model : find(train_config_fields());
}

Ramp read_ramp(const Json& value, const std::string& where, const std::string& key) {
  const auto is_number = [](const Json& one) { return one.is_number(); };
  if (value.is_number()) return {value.get<double>(), value.get<double>()};
  if (value.is_array() && value.size() == 2 && std::all_of(value.begin(), value.end(), is_number))
    return {value[0].get<double>(), value[1].get<double>()};
  fail_usage(where, fmt::format("{} is {}", key, value.dump()), "give a number, or [FROM, TO]");
}

int64_t read_count(const Json& json, const std::string& where, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer() || found->get<int64_t>() < 1)
    fail_usage(where, std::string(key) + (found == json.end() ? " is missing" : " is " + found->dump()),
               "give a whole number above 0");
  return found->get<int64_t>();
}

std::string read_text(const Json& json, const std::string& where, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string())
    fail_usage(where, std::string(key) + " is missing or no text", "give one in quotation marks");
  return found->get<std::string>();
}

PhaseTask read_task(const Json& settings, const RunConfig& base, const std::string& where) {
  PhaseTask task;
  task.config = base;
  task.task = read_text(settings, where, "task");
  const std::vector<std::string> names = tasks::training_task_names();
  if (std::find(names.begin(), names.end(), task.task) == names.end())
    fail_usage(where, "no such task: " + task.task, "did you mean " + nearest_name(task.task, names) + "?");
  for (const auto& [key, value] : settings.items()) {
    if (key == "task" || key == "name" || key == "steps" || key == "tasks" || key == "chunks" ||
        key == "until" || key == "keep")
      continue;
    if (key == "share") {
      if (!value.is_number() || !(value.get<double>() > 0))
        fail_usage(where, "share is " + value.dump(), "give a number above 0");
      task.share = value.get<double>();
      continue;
    }
    const Change change = change_of(key);
    if (change == Change::ramp) {
      task.ramps.push_back({key, read_ramp(value, where, key)});
      continue;
    }
    task.config.set(where, key, value);  // an unknown key is told here
    if (change == Change::never)
      fail_usage(where, key + " cannot change while a model is trained", "set it with --set");
  }
  const tasks::TaskKind* kind = tasks::find_task_kind(task.task);
  const bool takes_context = kind == nullptr || kind->takes_context;
  if (!settings.contains("chunks") && !settings.contains("context") && takes_context)
    fail_usage(where, "task " + task.task + " has no length", "give it \"context\" (tokens) or \"chunks\"");
  if (settings.contains("chunks"))
    // More than validate() lets pass, and no overflow.
    task.config.train.context = std::min(read_count(settings, where, "chunks"), int64_t{1} << 31) *
                                task.config.model.chunk_text_size();

  // Both ends of what moves must be fit to use; what lies between is then.
  for (const double way : {0.0, 1.0}) {
    RunConfig end = task.config_at(way, where);
    end.model.vocab_size = std::max<int64_t>(end.model.vocab_size, 2);  // the data tells it later
    end.model.validate(where);
    if (!(end.train.learning_rate >= 0)) fail_usage(where, "learning_rate is negative", "give 0 or more");
    // A phase's learning rate may begin or end at 0, and does not know the run's floor.
    end.train.learning_rate = base.train.learning_rate;
    end.train.min_learning_rate = 0;
    end.train.validate(where);
  }
  task.config.explicit_keys = {"context"};
  return task;
}

void refuse_two_lengths(const Json& json, const std::string& where) {
  if (json.contains("chunks") && json.contains("context"))
    fail_usage(where, "has both \"context\" and \"chunks\"", "give one of them");
}

/// How a phase may end before its last step.
PhaseGoal read_goal(const Json& json, const TrainingPhase& phase, const std::string& where) {
  if (!json.is_object())
    fail_usage(where, "until is not a JSON object",
               "write {\"task\": NAME, \"accuracy\": 0.9, \"every\": 25}");
  for (const auto& [key, value] : json.items())
    if (key != "task" && key != "accuracy" && key != "every")
      fail_usage(where, "until has an unknown key \"" + key + "\"", "its keys are task, accuracy and every");
  PhaseGoal goal;
  const std::string name = read_text(json, where + ", until", "task");
  while (goal.task < phase.tasks.size() && phase.tasks[goal.task].task != name) ++goal.task;
  if (goal.task == phase.tasks.size())
    fail_usage(where, "until names the task " + name + ", which the phase does not have",
               "name one of its tasks");
  if (name == tasks::kTextTask)
    fail_usage(where, "until names the task text, whose targets are not right or wrong",
               "name another of its tasks");
  const auto accuracy = json.find("accuracy");
  if (accuracy == json.end() || !accuracy->is_number() || !(accuracy->get<double>() > 0) ||
      accuracy->get<double>() > 1)
    fail_usage(where, "until: accuracy " + (accuracy == json.end() ? "is missing" : "is " + accuracy->dump()),
               "give a share above 0, at most 1");
  goal.accuracy = accuracy->get<double>();
  goal.every = read_count(json, where + ", until", "every");
  if (goal.every > phase.steps)
    fail_usage(where, fmt::format("until: every is {}, the phase has {} steps", goal.every, phase.steps),
               "give fewer than the phase has");
  return goal;
}

/// The name of a folder beside kept/best and kept/step-N.
std::string read_kept_name(const Json& json, const std::string& where) {
  const auto is_plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  };
  std::string name = read_text(json, where, "keep");
  if (name.empty() || !std::all_of(name.begin(), name.end(), is_plain) || name == "best" ||
      name.starts_with("step-"))
    fail_usage(where, "keep is \"" + name + "\"",
               "name it with letters, digits, - and _, and neither best nor step-N");
  return name;
}

TrainingPhase read_phase(const Json& json, const RunConfig& base, const std::string& where) {
  if (!json.is_object())
    fail_usage(where, "is not a JSON object", "write {\"name\": ..., \"steps\": ..., ...}");
  TrainingPhase phase;
  phase.name = read_text(json, where, "name");
  const std::string here = where + " (" + phase.name + ")";
  phase.steps = read_count(json, here, "steps");
  refuse_two_lengths(json, here);
  const auto tasks = json.find("tasks");
  if (tasks == json.end() || !tasks->is_array() || tasks->empty())
    fail_usage(here, "has no tasks", "give a list such as [{\"task\": \"text\"}]");
  for (const Json& one : *tasks) {
    if (!one.is_object()) fail_usage(here, "a task is not a JSON object", "write {\"task\": ...}");
    refuse_two_lengths(one, here);
    Json settings = json;
    settings.update(one);
    if (one.contains("context")) settings.erase("chunks");
    phase.tasks.push_back(read_task(settings, base, here));
  }
  if (const auto until = json.find("until"); until != json.end()) phase.goal = read_goal(*until, phase, here);
  if (json.contains("keep")) phase.kept_as = read_kept_name(json, here);
  return phase;
}

}  // namespace

RunConfig PhaseTask::config_at(double way, const std::string& where) const {
  RunConfig moved = config;
  for (const auto& [key, ramp] : ramps) moved.set_number(where, key, ramp.at(way));
  return moved;
}

Json TrainingPhases::read(const std::string& path) {
  const Json json = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) fail_usage("--phases " + path, "is not a JSON object", "write {\"phases\": [...]}");
  return json;
}

TrainingPhases::TrainingPhases(const Json& json, const RunConfig& base, const std::string& where)
    : json_(json) {
  for (const auto& [key, value] : json.items())
    if (key != "phases") fail_usage(where, "unknown key \"" + key + "\"", "the only one is \"phases\"");
  const auto list = json.find("phases");
  if (list == json.end() || !list->is_array() || list->empty())
    fail_usage(where, "has no phases",
               "write {\"phases\": [{\"name\": ..., \"steps\": ..., \"tasks\": [...]}]}");
  for (const Json& one : *list)
    phases_.push_back(read_phase(one, base, fmt::format("{}, phase {}", where, phases_.size() + 1)));

  int64_t total = 0;
  for (const TrainingPhase& phase : phases_) {
    if (phase.steps > kMaxSteps - total)
      fail_usage(where, fmt::format("its phases have more than {} steps", kMaxSteps), "give fewer");
    total += phase.steps;
  }
  if (phases_.back().goal)
    fail_usage(where, "its last phase (" + phases_.back().name + ") has \"until\"",
               "let another follow: the last one takes the steps that are left");
  number_streams();
  lay_out_steps();
}

void TrainingPhases::lay_out_steps() {
  steps_.clear();
  consumed_before_.clear();
  int64_t sequences = 0;
  std::vector<int64_t> consumed(stream_count_, 0);
  for (size_t p = 0; p < phases_.size(); ++p) {
    const TrainingPhase& phase = phases_[p];
    consumed_before_.push_back(consumed);
    double shares = 0;
    for (const PhaseTask& task : phase.tasks) shares += task.share;
    std::vector<int64_t> steps(phase.tasks.size(), 0);
    for (int64_t step = 0; step < phase.steps; ++step) {
      // The task that lags most behind its share.
      const auto lag = [&](size_t i) {
        return phase.tasks[i].share / shares * static_cast<double>(step + 1) - static_cast<double>(steps[i]);
      };
      size_t task = 0;
      for (size_t i = 1; i < phase.tasks.size(); ++i)
        if (lag(i) > lag(task)) task = i;
      int64_t& of_stream = consumed[phase.tasks[task].stream];
      steps_.push_back({p, task, step, of_stream, sequences});
      const int64_t taken = phase.tasks[task].config.train.sequences_per_step();
      ++steps[task];
      of_stream += taken;
      sequences += taken;
    }
  }
}

void TrainingPhases::number_streams() {
  std::map<std::tuple<std::string, int64_t, int64_t>, size_t> numbers;
  for (TrainingPhase& phase : phases_)
    for (PhaseTask& task : phase.tasks)
      task.stream = numbers
                        .try_emplace({task.task, task.config.train.context, task.config.model.chunk_size},
                                     numbers.size())
                        .first->second;
  stream_count_ = numbers.size();
}

std::optional<PhaseGoal> TrainingPhases::goal_due(int64_t steps) const {
  if (steps < 1) return {};
  const PhaseStep& last = where(steps - 1);
  const TrainingPhase& phase = phases_[last.phase];
  const int64_t made = last.step + 1;
  if (!phase.goal || made % phase.goal->every != 0 || made == phase.steps) return {};
  return phase.goal;
}

const TrainingPhase* TrainingPhases::phase_ended_by(int64_t steps) const {
  if (steps < 1) return nullptr;
  const PhaseStep& last = where(steps - 1);
  const TrainingPhase& phase = phases_[last.phase];
  return last.step + 1 == phase.steps ? &phase : nullptr;
}

void TrainingPhases::end_phase(int64_t steps) {
  const PhaseStep last = where(steps - 1);
  TrainingPhase& phase = phases_[last.phase];
  const int64_t saved = phase.steps - (last.step + 1);
  phase.steps -= saved;
  phases_.back().steps += saved;
  json_["phases"][last.phase]["steps"] = phase.steps;
  json_["phases"].back()["steps"] = phases_.back().steps;
  lay_out_steps();
}

StepSettings TrainingPhases::kept_after(int64_t steps) const {
  return at(std::clamp<int64_t>(steps - 1, 0, total_steps() - 1), 0);
}

void TrainingPhases::set_context(size_t phase, size_t task, int64_t context) {
  phases_[phase].tasks[task].config.train.context = context;
}

int64_t TrainingPhases::sequences_of_stream(size_t stream, int64_t sequences) const {
  if (sequences == 0) return 0;
  const int64_t last = step_after(sequences - 1);
  const size_t phase = where(last).phase;
  for (int64_t step = last; step >= 0 && where(step).phase == phase; --step) {
    const PhaseStep& place = where(step);
    const PhaseTask& task = phases_[phase].tasks[place.task];
    if (task.stream != stream) continue;
    return place.stream_sequences +
           std::min(task.config.train.sequences_per_step(), sequences - place.sequences);
  }
  return consumed_before_[phase][stream];
}

int64_t TrainingPhases::total_sequences() const {
  const PhaseStep& last = steps_.back();
  return last.sequences + phases_[last.phase].tasks[last.task].config.train.sequences_per_step();
}

int64_t TrainingPhases::tokens_of_steps(int64_t begin, int64_t end) const {
  int64_t tokens = 0;
  for (int64_t i = begin; i < end; ++i) {
    const PhaseStep& step = where(i);
    const TrainConfig& train = phases_[step.phase].tasks[step.task].config.train;
    tokens += train.sequences_per_step() * train.context;
  }
  return tokens;
}

const PhaseTask& TrainingPhases::largest_task() const {
  const PhaseTask* largest = nullptr;
  const auto tokens = [](const PhaseTask& task) {
    return static_cast<double>(task.config.train.batch) * static_cast<double>(task.config.train.context);
  };
  for (const TrainingPhase& phase : phases_)
    for (const PhaseTask& task : phase.tasks)
      if (largest == nullptr || tokens(task) > tokens(*largest)) largest = &task;
  return *largest;
}

int64_t TrainingPhases::step_after(int64_t sequences) const {
  const auto after =
      std::upper_bound(steps_.begin(), steps_.end(), sequences,
                       [](int64_t count, const PhaseStep& one) { return count < one.sequences; });
  return after - steps_.begin() - 1;
}

StepSettings TrainingPhases::at(int64_t step, size_t number) const {
  const PhaseStep& place = where(step);
  const TrainingPhase& phase = phases_[place.phase];
  const PhaseTask& task = phase.tasks[number];
  const double way =
      phase.steps > 1 ? static_cast<double>(place.step) / static_cast<double>(phase.steps - 1) : 1.0;
  const RunConfig config = task.config_at(way);
  return {config.train.learning_rate, config.model, config.train};
}

}  // namespace gca::train
