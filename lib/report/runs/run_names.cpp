#include "lib/report/runs/run_names.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/one_line.h"

namespace gca::report {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(path).lexically_normal())
    if (!part.empty() && part != "/" && part != ".") parts.push_back(part.string());
  if (parts.empty()) parts.push_back(path);
  return parts;
}

/// The last `count` parts of `parts`.
std::string end_of(const std::vector<std::string>& parts, size_t count) {
  std::string text;
  for (size_t i = parts.size() - std::min(count, parts.size()); i < parts.size(); ++i)
    text += (text.empty() ? "" : "/") + parts[i];
  return text;
}

/// What a run's name is made from: from the root, without ".json".
std::string named_path(const RunResults& run) {
  const fs::path path = fs::absolute(run.path).lexically_normal();
  if (path.filename() == "report.json") return path.parent_path().string();
  return (path.extension() == ".json" ? path.parent_path() / path.stem() : path).string();
}

/// A file beside a folder of its name ("a.json", "a/") has the same path but for its end.
void number_equal_names(std::vector<RunResults>& runs) {
  std::map<std::string, int> seen;
  for (RunResults& run : runs)
    if (const int count = ++seen[run.name]; count > 1) run.name += fmt::format(" ({})", count);
}

constexpr const char* kLabelRemedy = "give one --label for each run, in their order, or --label NAME=LABEL";

/// The run that the part of `label` before a "=" names, and where its label begins.
std::pair<RunResults*, size_t> named_run(const std::string& label, std::vector<RunResults>& runs) {
  for (size_t end = label.find('='); end != std::string::npos; end = label.find('=', end + 1)) {
    const std::string name = label.substr(0, end);
    for (RunResults& run : runs)
      if (run.name == name || run.path == name) return {&run, end + 1};
  }
  return {nullptr, 0};
}

void set_label(const std::string& given, std::string label, std::string& name) {
  if (label.empty()) fail_usage("--label " + given, "is empty", kLabelRemedy);
  name = std::move(label);
}

void use_labels(std::vector<RunResults>& runs, const std::vector<std::string>& labels) {
  std::map<RunResults*, std::string> by_run;
  std::vector<std::string> unnamed;
  for (const std::string& label : labels) {
    const auto [run, begin] = named_run(label, runs);
    if (run == nullptr)
      unnamed.push_back(label);
    else
      set_label(label, label.substr(begin), by_run[run]);
  }
  if (unnamed.size() == labels.size() && labels.size() == runs.size())
    for (size_t i = 0; i < labels.size(); ++i) set_label(labels[i], labels[i], by_run[&runs[i]]);
  else if (!unnamed.empty())
    fail_usage("--label " + unnamed.front(),
               fmt::format("names no run, and there are {} labels for {} runs", labels.size(), runs.size()),
               kLabelRemedy);
  for (const auto& [run, label] : by_run) run->name = label;
}

}  // namespace

std::vector<std::string> distinct_names(const std::vector<std::string>& paths) {
  std::vector<std::vector<std::string>> parts;
  for (const std::string& path : paths) parts.push_back(parts_of(path));
  std::vector<size_t> counts(paths.size(), 1);
  std::vector<std::string> names(paths.size());
  for (bool has_grown = true; has_grown;) {
    std::map<std::string, std::set<std::vector<std::string>>> called;
    for (size_t i = 0; i < paths.size(); ++i) {
      names[i] = end_of(parts[i], counts[i]);
      called[names[i]].insert(parts[i]);
    }
    has_grown = false;
    for (size_t i = 0; i < paths.size(); ++i) {
      if (called[names[i]].size() < 2 || counts[i] >= parts[i].size()) continue;
      ++counts[i];
      has_grown = true;
    }
  }
  return names;
}

void name_runs(std::vector<RunResults>& runs, const std::vector<std::string>& labels) {
  std::vector<std::string> paths;
  for (const RunResults& run : runs) paths.push_back(named_path(run));
  const std::vector<std::string> names = distinct_names(paths);
  for (size_t i = 0; i < runs.size(); ++i) runs[i].name = names[i];
  number_equal_names(runs);
  use_labels(runs, labels);
  number_equal_names(runs);
  for (RunResults& run : runs) run.name = one_line(run.name, std::numeric_limits<int64_t>::max());
}

}  // namespace gca::report
