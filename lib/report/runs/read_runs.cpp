#include "lib/report/runs/read_runs.h"

#include <algorithm>
#include <filesystem>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/report/runs/read_metrics.h"
#include "lib/report/runs/read_reports.h"
#include "lib/report/runs/run_names.h"

namespace gca::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kRemedy =
    "name output folders of gca pretrain, or reports of gca pretrain, gca eval and gca bench";

/// Without "." and a "/" at its end, links followed where they lead somewhere: the same folder, the same
/// path.
fs::path resolved(const fs::path& path) {
  std::error_code error;
  fs::path whole = fs::weakly_canonical(path, error);
  if (error) whole = fs::absolute(path).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

/// Calls read() on what came from `path`; what is missing or of a wrong type becomes Error(usage).
template <class Read>
void read_checked(const std::string& path, const Read& read) {
  try {
    read();
  } catch (const json::exception& error) {
    fail_usage(path, std::string("is damaged (") + error.what() + ")", "make it again, or leave it out");
  }
}

json parsed(const std::string& path) {
  return json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
}

/// The folder of the run that `path` stands for: itself, or what it is the metrics, the report or the
/// checkpoint of.
std::string run_folder_of(const std::string& path) {
  fs::path whole = fs::absolute(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  const fs::path parent = whole.parent_path();
  const bool is_file_of_run = fs::is_regular_file(whole) &&
                              (whole.filename() == "metrics.jsonl" ||
                               (whole.filename() == "report.json" && fs::exists(parent / "metrics.jsonl")));
  const bool is_checkpoint = whole.filename() == "checkpoint" && fs::exists(whole / "trainer_state.json");
  return is_file_of_run || is_checkpoint ? parent.string() : path;
}

RunResults read_folder(const std::string& folder) {
  RunResults run;
  run.path = folder;
  bool holds_something = false;
  if (const std::string metrics = folder + "/metrics.jsonl"; fs::is_regular_file(metrics)) {
    holds_something = true;
    read_checked(metrics, [&] { read_metrics(read_file(metrics), run); });
  }
  const std::string state = folder + "/checkpoint/trainer_state.json";
  if (!fs::exists(folder + "/report.json") && fs::is_regular_file(state)) {
    holds_something = true;
    read_checked(state, [&] { read_trainer_state(parsed(state), run); });
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().extension() == ".json") files.push_back(entry.path());
  // The run's own report gives the settings; reports of eval come after it.
  const auto is_own = [](const fs::path& path) { return path.filename() == "report.json"; };
  std::sort(files.begin(), files.end(), [&](const fs::path& a, const fs::path& b) {
    return std::pair(!is_own(a), a) < std::pair(!is_own(b), b);
  });
  for (const fs::path& path : files) {
    const json content = parsed(path.string());
    if (is_own(path) && !content.is_object()) fail_usage(path.string(), "is not a JSON object", kRemedy);
    if (!is_own(path) && schema_of(content) == "gca.pretrain/1") continue;  // of another run
    read_checked(path.string(), [&] { holds_something |= read_report(content, run); });
  }
  if (!holds_something) fail_usage(folder, "holds no run", kRemedy);
  return run;
}

/// The run whose checkpoint the report measured; null where it is not among `runs`.
RunResults* owner_of(const json& report, const std::vector<RunResults*>& runs) {
  if (schema_of(report) != "gca.eval/1") return nullptr;
  const fs::path checkpoint = resolved(report.at("config").at("checkpoint").get<std::string>());
  for (RunResults* run : runs)
    if (const fs::path folder = resolved(run->path);
        checkpoint == folder || checkpoint.parent_path() == folder)
      return run;
  return nullptr;
}

RunResults read_single_report(const std::string& path, const json& content) {
  RunResults run;
  run.path = path;
  bool is_known = false;
  read_checked(path, [&] { is_known = read_report(content, run); });
  if (!is_known) fail_usage(path, "is not a report of gca pretrain, gca eval or gca bench", kRemedy);
  return run;
}

}  // namespace

std::vector<RunResults> read_runs(const std::vector<std::string>& paths,
                                  const std::vector<std::string>& labels) {
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    if (!fs::exists(path)) fail_usage(path, "no such file or folder", kRemedy);
    const std::string name = run_folder_of(path);
    const bool is_new = std::none_of(names.begin(), names.end(), [&](const std::string& other) {
      return resolved(other) == resolved(name);
    });
    if (is_new) names.push_back(name);
  }
  std::vector<RunResults> runs(names.size());
  std::vector<RunResults*> folders;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!fs::is_directory(names[i])) continue;
    runs[i] = read_folder(names[i]);
    folders.push_back(&runs[i]);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    if (fs::is_directory(names[i])) continue;
    const json content = parsed(names[i]);
    if (!content.is_object()) fail_usage(names[i], "is not a JSON object", kRemedy);
    RunResults* owner = nullptr;
    read_checked(names[i], [&] { owner = owner_of(content, folders); });
    if (owner != nullptr)
      read_checked(names[i], [&] { read_report(content, *owner); });
    else
      runs[i] = read_single_report(names[i], content);
  }
  std::erase_if(runs, [](const RunResults& run) { return run.path.empty(); });
  name_runs(runs, labels);
  return runs;
}

}  // namespace gca::report
