#include "lib/report/runs/read_reports.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "lib/core/json/json_number.h"
#include "lib/report/runs/json_entries.h"
#include "lib/report/runs/read_metrics.h"

namespace gca::report {
namespace {

using nlohmann::json;

/// The value of a flag among the words of a command line.
std::optional<std::string> flag_value(const std::vector<std::string>& words, const std::string& flag) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == flag && i + 1 < words.size()) return words[i + 1];
    if (words[i].starts_with(flag + "=")) return words[i].substr(flag.size() + 1);
  }
  return std::nullopt;
}

/// Of two runs with a plan, one that has none differs as well; the same for branches.
void name_absent_settings(json& settings) {
  for (const char* key : {"phases", "branch"})
    if (!settings.contains(key)) settings[key] = nullptr;
}

/// How long the run was to be is a setting like any other. --minutes makes it another number of steps each
/// time, and a start-up of another plan: that one is not told.
void set_length(const std::vector<std::string>& command, int64_t planned_steps, json& settings) {
  const auto minutes = flag_value(command, "--minutes");
  settings["length"] = minutes ? *minutes + " minutes" : std::to_string(planned_steps) + " steps";
  if (minutes && !flag_value(command, "--phases")) settings.erase("phases");
}

void read_training_report(const json& report, RunResults& run) {
  const json& result = report.at("result");
  const auto command = report.value("command", std::vector<std::string>());
  run.kind = RunKind::training;
  run.has_ended = true;
  run.settings = report.at("config");
  name_absent_settings(run.settings);
  run.seed = unsigned_number(report.at("seed"));
  run.parameters = whole_number(result.at("parameters"));
  run.tokens_per_second = number_of(result, "tokens_per_second");
  merge_validations(result.at("valid"), run);
  if (!run.valid.empty()) run.tokens = std::max(run.tokens, run.valid.back().tokens);
  if (result.contains("tokens")) run.tokens = whole_number(result["tokens"]);
  if (result.contains("steps")) run.steps = whole_number(result["steps"]);
  if (run.tokens_per_second > 0) run.train_seconds = static_cast<double>(run.tokens) / run.tokens_per_second;
  if (result.contains("planned_steps")) {
    run.planned_steps = whole_number(result["planned_steps"]);
    set_length(command, run.planned_steps, run.settings);
  }
  if (const auto file = flag_value(command, "--phases"))
    run.plan_file = std::filesystem::path(*file).filename().string();
}

/// A model that keeps no chunk memory has nothing to choose from: gca eval calls that "none", here it is no
/// retriever.
json without_idle_retrievers(json result, const json& model) {
  bool has_choice = text_of(model, "long_range", "gca") == "gca";
  const auto for_each_entry = [&](const auto& see) {
    for (const char* list : {"contexts", "positions", "depths"})
      if (const auto found = result.find(list); found != result.end())
        for (json& entry : *found) see(entry);
  };
  for_each_entry([&](const json& entry) { has_choice |= text_of(entry, "retriever", "learned") != "none"; });
  if (!has_choice) for_each_entry([](json& entry) { entry["retriever"] = ""; });
  return result;
}

void read_perplexity(const json& result, const std::string& data, RunResults& run) {
  for (const json& entry : result.at("contexts"))
    run.contexts.push_back({whole_number(entry.at("context")), text_of(entry, "retriever", "learned"),
                            number_of(entry, "loss"), number_of(entry, "perplexity"),
                            number_of(entry, "bits_per_byte"), data});
  for (const json& entry : result.value("positions", json::array()))
    run.positions.push_back({whole_number(entry.at("context")), text_of(entry, "retriever", "learned"),
                             whole_number(entry.at("from")), whole_number(entry.at("to")),
                             number_of(entry, "loss"), data});
}

void read_recall(const json& result, const std::string& task, const std::string& data, RunResults& run) {
  for (const char* list : {"contexts", "depths"})
    for (const json& entry : result.value(list, json::array()))
      run.recalls.push_back({task, text_of(entry, "retriever", "learned"), whole_number(entry.at("context")),
                             number_of(entry, "depth"), whole_number(entry.at("trials")),
                             whole_number(entry.at("correct")), data});
}

/// What was read: the folder of sequences or tokens, or the texts.
std::string data_of(const json& config) {
  std::string data = text_of(config, "data", "");
  for (const json& input : config.value("inputs", json::array()))
    data += (data.empty() ? "" : " ") + input.get<std::string>();
  return data;
}

void read_eval_report(const json& report, RunResults& run) {
  const json& config = report.at("config");
  if (run.settings.empty()) {
    run.kind = RunKind::evaluation;
    run.has_ended = true;
    run.settings = config.at("model");
    for (const auto& [key, value] : config.items())
      if (key != "model") run.settings[key] = value;
    run.seed = unsigned_number(report.at("seed"));
  }
  const json result = without_idle_retrievers(report.at("result"), config.at("model"));
  const std::string task = text_of(result, "task", "perplexity");
  if (task == "perplexity")
    read_perplexity(result, data_of(config), run);
  else
    read_recall(result, task, data_of(config), run);
}

void read_bench_report(const json& report, RunResults& run) {
  const json& result = report.at("result");
  if (run.settings.empty()) {
    run.kind = RunKind::benchmark;
    run.has_ended = true;
    run.settings = report.at("config");
    run.seed = unsigned_number(report.at("seed"));
    run.parameters = whole_number(result.at("parameters"));
  }
  for (const json& row : result.at("rows"))
    run.speeds.push_back({row.at("mode").get<std::string>(), whole_number(row.at("context")),
                          number_of(row, "tokens_per_second")});
}

}  // namespace

std::string schema_of(const json& content) {
  if (!content.is_object()) return "";
  const auto found = content.find("schema");
  return found != content.end() && found->is_string() ? found->get<std::string>() : "";
}

bool read_report(const json& content, RunResults& run) {
  const std::string schema = schema_of(content);
  if (schema == "gca.pretrain/1")
    read_training_report(content, run);
  else if (schema == "gca.eval/1")
    read_eval_report(content, run);
  else if (schema == "gca.bench/1")
    read_bench_report(content, run);
  else
    return false;
  return true;
}

void read_trainer_state(const json& state, RunResults& run) {
  run.settings = state.at("model_config");
  run.settings.update(state.at("train_config"));
  for (const char* key : {"task", "dtype", "data", "phases"})
    if (state.contains(key)) run.settings[key] = state[key];
  name_absent_settings(run.settings);
  run.seed = unsigned_number(state.at("seed"));
  if (state.contains("total_steps")) {
    run.planned_steps = whole_number(state["total_steps"]);
    set_length({}, run.planned_steps, run.settings);
  }
  merge_validations(state.value("valid", json::array()), run);
  // The metrics may be ahead of the checkpoint.
  run.steps = std::max(run.steps, whole_number(state.value("step", json(0))));
  run.tokens = std::max(run.tokens, whole_number(state.value("tokens", json(0))));
}

}  // namespace gca::report
