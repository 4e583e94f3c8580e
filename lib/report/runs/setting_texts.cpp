#include "lib/report/runs/setting_texts.h"

#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "lib/core/checksums/sha256.h"
#include "lib/core/one_line.h"
#include "lib/report/runs/run_names.h"

namespace gca::report {
namespace {

using nlohmann::json;

/// Where a run was made and looked at decides nothing of what it learned; the rest follows from other
/// settings.
const std::set<std::string> kNoSettings = {"output",
                                           "valid",
                                           "eval_interval",
                                           "eval_sequences",
                                           "checkpoint_interval",
                                           "checkpoint_minutes",
                                           "diagnostics_interval",
                                           "keep_checkpoints",
                                           "keep_best",
                                           "landmark_token_id"};

/// Settings whose values are files and folders.
const std::set<std::string> kPathSettings = {"data", "init", "branch", "start_up", "checkpoint", "inputs"};

/// Null where the run does not say.
const json* value_in(const RunResults& run, const std::string& setting) {
  const auto found = run.settings.find(setting);
  return found == run.settings.end() ? nullptr : &*found;
}

constexpr size_t kHashDigits = 7;

std::string plain_text(const json& value) {
  if (value.is_string()) return value.get<std::string>().empty() ? "none" : value.get<std::string>();
  if (value.is_null()) return "none";
  if (value.is_object()) return "plan " + sha256_hex(value.dump()).substr(0, kHashDigits);
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const json& entry : value) text += (text.empty() ? "" : ", ") + plain_text(entry);
  return text.empty() ? "none" : text;
}

/// Folders among several values, each by its shortest name.
class PathNames {
 public:
  void add(const json& value) {
    for (const json& path : value.is_array() ? value : json::array({value}))
      if (path.is_string()) names_.emplace(path.get<std::string>(), "");
  }
  void shorten() {
    // Every run has a checkpoint/: it says nothing.
    std::vector<std::string> paths;
    for (const auto& [path, name] : names_) {
      const std::filesystem::path whole = path;
      paths.push_back(whole.filename() == "checkpoint" ? whole.parent_path().string() : path);
    }
    const std::vector<std::string> shorter = distinct_names(paths);
    size_t i = 0;
    for (auto& [path, name] : names_) name = shorter[i++];
  }
  json shortened(const json& value) const {
    if (value.is_string() && !value.get<std::string>().empty()) return names_.at(value.get<std::string>());
    if (!value.is_array()) return value;
    json list = json::array();
    for (const json& path : value) list.push_back(shortened(path));
    return list;
  }

 private:
  std::map<std::string, std::string> names_;  // by path
};

/// Plans by the file that --phases named; the same plan in a run that was resumed has that name, too.
std::map<json, std::string> plan_files(std::span<const RunResults> runs) {
  std::map<json, std::string> files;
  std::map<std::string, int> uses;
  for (const RunResults& run : runs)
    if (const json* plan = value_in(run, "phases"); plan != nullptr && !run.plan_file.empty())
      if (files.emplace(*plan, run.plan_file).second) ++uses[run.plan_file];
  for (auto& [plan, file] : files)
    if (uses[file] > 1) file += " " + sha256_hex(plan.dump()).substr(0, kHashDigits);
  return files;
}

}  // namespace

std::vector<std::string> differing_settings(std::span<const RunResults> runs) {
  std::map<std::string, std::set<json>> values;
  for (const RunResults& run : runs)
    for (const auto& [name, value] : run.settings.items())
      if (!kNoSettings.contains(name)) values[name].insert(value);
  std::vector<std::string> differing;
  for (const auto& [name, all] : values)
    if (all.size() > 1) differing.push_back(name);
  return differing;
}

std::vector<std::string> setting_texts(std::span<const RunResults> runs, const std::string& setting) {
  PathNames paths;
  const bool is_path = kPathSettings.contains(setting);
  if (is_path) {
    for (const RunResults& run : runs)
      if (const json* value = value_in(run, setting)) paths.add(*value);
    paths.shorten();
  }
  const std::map<json, std::string> plans =
      setting == "phases" ? plan_files(runs) : std::map<json, std::string>();
  std::vector<std::string> texts;
  for (const RunResults& run : runs) {
    const json* value = value_in(run, setting);
    if (value == nullptr) {
      texts.emplace_back();
      continue;
    }
    const auto plan = plans.find(*value);
    const std::string text =
        plan != plans.end() ? plan->second : plain_text(is_path ? paths.shortened(*value) : *value);
    texts.push_back(one_line(text, std::numeric_limits<int64_t>::max()));
  }
  return texts;
}

}  // namespace gca::report
