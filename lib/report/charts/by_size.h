#pragma once
// Values by a size (a context, a position), gathered over the runs of a comparison.

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/report/charts/chart.h"
#include "lib/report/runs/run_names.h"

namespace gca::report {

inline constexpr const char* kContextTitle = "context, tokens of text";

/// Values by group, retriever and a size, over the runs of a group.
using BySize = std::map<std::pair<size_t, std::string>, std::map<int64_t, std::vector<double>>>;

/// Calls see(number of the group, measurement) for each of `list` of all runs.
template <class T>
void for_each_of(const Comparison& comparison, std::vector<T> RunResults::*list,
                 const std::function<void(size_t, const T&)>& see) {
  for (size_t g = 0; g < comparison.groups.size(); ++g)
    for (const RunResults* run : comparison.groups[g].runs)
      for (const T& one : run->*list) see(g, one);
}

/// The data sets of `list`, with the words that a title names them by: none where there is one.
template <class T>
std::map<std::string, std::string> data_sets(const Comparison& comparison, std::vector<T> RunResults::*list) {
  std::set<std::string> data;
  for_each_of<T>(comparison, list, [&](size_t, const T& one) { data.insert(one.data); });
  const std::vector<std::string> paths(data.begin(), data.end());
  const std::vector<std::string> names = distinct_names(paths);
  std::map<std::string, std::string> words;
  for (size_t i = 0; i < paths.size(); ++i) words[paths[i]] = paths.size() > 1 ? ", on " + names[i] : "";
  return words;
}

/// Adds a chart of the means, a line for each group and retriever, where there is a value.
void add_chart_by_size(const BySize& values, const ChartTexts& texts, const std::string& x_title,
                       const ChartTraits& traits, nlohmann::json& charts);

}  // namespace gca::report
