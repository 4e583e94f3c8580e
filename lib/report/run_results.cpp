#include "lib/report/run_results.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <sstream>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/json/json_number.h"

namespace gca::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kRemedy =
    "name output folders of gca pretrain, or reports of gca pretrain and gca eval";

/// A number, NaN for null or nothing.
double number_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? kUnknownNumber : found->get<double>();
}

std::string text_of(const json& object, const char* key, const char* otherwise) {
  const auto found = object.find(key);
  return found == object.end() ? otherwise : found->get<std::string>();
}

LossPoint loss_point(const json& entry) {
  return {whole_number(entry.at("step")), whole_number(entry.at("tokens")), number_of(entry, "loss")};
}

/// The last line may be torn: it is left out, and so is whatever is not an object.
void read_metrics(const std::string& text, RunResults& run) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!entry.is_object()) continue;
    if (entry.contains("valid"))
      run.valid.push_back(loss_point(entry["valid"]));
    else if (entry.contains("loss"))  // other lines tell what was changed
      run.train.push_back(loss_point(entry));
  }
}

void read_training_report(const json& report, RunResults& run) {
  run.settings = report.at("config");
  run.seed = unsigned_number(report.at("seed"));
  const json& result = report.at("result");
  run.parameters = whole_number(result.at("parameters"));
  run.tokens_per_second = number_of(result, "tokens_per_second");
  if (!run.valid.empty()) return;
  for (const json& entry : result.at("valid")) run.valid.push_back(loss_point(entry));
}

/// trainer_state.json of a run that has not ended, which has no report.
void read_trainer_state(const json& state, RunResults& run) {
  run.settings = state.at("model_config");
  run.settings.update(state.at("train_config"));
  run.seed = unsigned_number(state.at("seed"));
}

void read_perplexity(const json& result, RunResults& run) {
  for (const json& entry : result.at("contexts"))
    run.contexts.push_back({whole_number(entry.at("context")), text_of(entry, "retriever", "learned"),
                            number_of(entry, "loss"), number_of(entry, "perplexity"),
                            number_of(entry, "bits_per_byte")});
  for (const json& entry : result.value("positions", json::array()))
    run.positions.push_back({whole_number(entry.at("context")), text_of(entry, "retriever", "learned"),
                             whole_number(entry.at("from")), whole_number(entry.at("to")),
                             number_of(entry, "loss")});
}

void read_recall(const json& result, const std::string& task, RunResults& run) {
  for (const char* list : {"contexts", "depths"})
    for (const json& entry : result.value(list, json::array()))
      run.recalls.push_back({task, text_of(entry, "retriever", "learned"), whole_number(entry.at("context")),
                             number_of(entry, "depth"), whole_number(entry.at("trials")),
                             whole_number(entry.at("correct"))});
}

void read_eval_report(const json& report, RunResults& run) {
  const json& result = report.at("result");
  const std::string task = text_of(result, "task", "perplexity");
  if (task == "perplexity")
    read_perplexity(result, run);
  else
    read_recall(result, task, run);
}

/// Calls read(json) with the file's content; what is missing or of a wrong type becomes Error(usage).
template <class Read>
void read_json_file(const std::string& path, const Read& read) {
  const json content = json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!content.is_object()) fail_usage(path, "is not a JSON object", kRemedy);
  try {
    read(content);
  } catch (const json::exception& error) {
    fail_usage(path, std::string("is damaged (") + error.what() + ")", "make the report again");
  }
}

std::string schema_of(const json& content) {
  const auto found = content.find("schema");
  return found != content.end() && found->is_string() ? found->get<std::string>() : "";
}

/// Reads one report into `run`; false when it is not one that this page shows.
bool read_report(const json& content, RunResults& run) {
  const std::string schema = schema_of(content);
  if (schema == "gca.pretrain/1") {
    read_training_report(content, run);
  } else if (schema == "gca.eval/1") {
    if (run.settings.empty()) {
      run.settings = content.at("config").at("model");
      run.seed = unsigned_number(content.at("seed"));
    }
    read_eval_report(content, run);
  } else {
    return false;
  }
  return true;
}

RunResults read_folder(const std::string& folder) {
  RunResults run;
  run.name = folder;
  bool holds_something = false;
  if (const std::string metrics = folder + "/metrics.jsonl"; fs::is_regular_file(metrics)) {
    holds_something = true;
    try {
      read_metrics(read_file(metrics), run);
    } catch (const json::exception& error) {
      fail_usage(metrics, std::string("is damaged (") + error.what() + ")", kRemedy);
    }
  }
  std::vector<std::string> reports;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().extension() == ".json")
      reports.push_back(entry.path().string());
  // The run's own report gives the settings; reports of eval come after it.
  std::sort(reports.begin(), reports.end(), [&](const std::string& a, const std::string& b) {
    const std::string own = folder + "/report.json";
    return std::pair(a != own, a) < std::pair(b != own, b);
  });
  const std::string state = folder + "/checkpoint/trainer_state.json";
  if (!fs::exists(folder + "/report.json") && fs::is_regular_file(state))
    read_json_file(state, [&](const json& content) { read_trainer_state(content, run); });
  for (const std::string& path : reports)
    read_json_file(path, [&](const json& content) { holds_something |= read_report(content, run); });
  if (!holds_something) fail_usage(folder, "holds no run", kRemedy);
  return run;
}

/// The run of `runs` that the report's checkpoint belongs to.
RunResults* owner_of(const json& report, std::vector<RunResults>& runs) {
  if (schema_of(report) != "gca.eval/1") return nullptr;
  const fs::path checkpoint = report.at("config").at("checkpoint").get<std::string>();
  for (RunResults& run : runs) {
    const fs::path folder = fs::path(run.name) / "";
    for (const fs::path& candidate : {checkpoint / "", checkpoint.parent_path() / ""})
      if (candidate.lexically_normal() == folder.lexically_normal()) return &run;
  }
  return nullptr;
}

}  // namespace

std::vector<RunResults> read_runs(const std::vector<std::string>& paths) {
  std::vector<RunResults> runs;
  for (const std::string& path : paths)
    if (fs::is_directory(path)) runs.push_back(read_folder(path));
  for (const std::string& path : paths) {
    if (fs::is_directory(path)) continue;
    if (!fs::exists(path)) fail_usage(path, "no such file or folder", kRemedy);
    read_json_file(path, [&](const json& content) {
      RunResults* const owner = owner_of(content, runs);
      if (owner != nullptr) {
        read_report(content, *owner);
        return;
      }
      RunResults run;
      run.name = path;
      if (!read_report(content, run))
        fail_usage(path, "is not a report of gca pretrain or gca eval", kRemedy);
      runs.push_back(std::move(run));
    });
  }
  return runs;
}

}  // namespace gca::report
