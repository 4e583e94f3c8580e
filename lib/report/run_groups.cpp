#include "lib/report/run_groups.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace gca::report {
namespace {

using nlohmann::json;

/// Where a run was made and looked at decides nothing of what it learned.
const std::set<std::string> kNoSettings = {"output",
                                           "eval_interval",
                                           "eval_sequences",
                                           "valid",
                                           "checkpoint_interval",
                                           "checkpoint_minutes",
                                           "diagnostics_interval"};

/// Settings that are not the same in all runs.
std::vector<std::string> differing_settings(std::span<const RunResults> runs) {
  std::set<std::string> names;
  for (const RunResults& run : runs)
    for (const auto& [name, value] : run.settings.items()) names.insert(name);
  std::vector<std::string> differing;
  for (const std::string& name : names) {
    if (kNoSettings.contains(name)) continue;
    const auto value_in = [&](const RunResults& run) { return run.settings.value(name, json()); };
    const json first = value_in(runs.front());
    if (std::any_of(runs.begin(), runs.end(), [&](const RunResults& run) { return value_in(run) != first; }))
      differing.push_back(name);
  }
  return differing;
}

std::string label_of(const RunResults& run, const std::vector<std::string>& differing) {
  std::string label;
  for (const std::string& name : differing) {
    const json value = run.settings.value(name, json());
    label += (label.empty() ? "" : ", ") + name + " " +
             (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return label;
}

}  // namespace

std::vector<RunGroup> group_runs(std::span<const RunResults> runs) {
  std::vector<RunGroup> groups;
  if (runs.empty()) return groups;
  const std::vector<std::string> differing = differing_settings(runs);
  for (const RunResults& run : runs) {
    const std::string label = label_of(run, differing);
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const RunGroup& candidate) { return candidate.label == label; });
    if (group == groups.end()) group = groups.insert(groups.end(), {label, {}});
    group->runs.push_back(&run);
  }
  for (RunGroup& group : groups)
    if (group.label.empty()) group.label = group.runs.size() == 1 ? group.runs.front()->name : "all runs";
  return groups;
}

Spread spread_of(const std::vector<double>& values) {
  std::vector<double> known;
  std::copy_if(values.begin(), values.end(), std::back_inserter(known),
               [](double x) { return std::isfinite(x); });
  if (known.empty()) return {};
  const auto [low, high] = std::minmax_element(known.begin(), known.end());
  return {std::accumulate(known.begin(), known.end(), 0.0) / static_cast<double>(known.size()), *low, *high};
}

}  // namespace gca::report
