#include "lib/report/runs/comparison.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "lib/core/utf8.h"
#include "lib/report/runs/setting_texts.h"

namespace gca::report {
namespace {

/// What both begin with.
std::string shared_start(const std::string& a, const std::string& b) {
  return {a.begin(), std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first};
}

std::string reversed(const std::string& text) {
  return {text.rbegin(), text.rend()};
}

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

}  // namespace

std::string shared_name(const std::vector<std::string>& names) {
  const std::string& first = names.front();
  std::string start = first;
  for (const std::string& name : names) start = shared_start(start, name);
  if (std::all_of(names.begin(), names.end(), [&](const std::string& name) { return name == first; }))
    return first;
  std::string end = reversed(first);
  for (const std::string& name : names) end = shared_start(end, reversed(name));
  end = reversed(end);
  // Seeds 11 and 12 share no digit, and no character is cut in two.
  while (!start.empty() && (is_digit(start.back()) || continues_utf8(first[start.size()]))) start.pop_back();
  while (!end.empty() && (is_digit(end.front()) || continues_utf8(end.front()))) end.erase(0, 1);
  const size_t shortest = std::min_element(names.begin(), names.end(), [](const auto& a, const auto& b) {
                            return a.size() < b.size();
                          })->size();
  if (start.size() + end.size() > shortest) end.clear();
  if (start.size() + end.size() < 2) return fmt::format("{} +{}", first, names.size() - 1);
  return start + "*" + end;
}

Comparison compare_runs(std::span<const RunResults> runs) {
  Comparison comparison;
  comparison.settings = differing_settings(runs);
  std::vector<std::vector<std::string>> values(runs.size());
  for (const std::string& setting : comparison.settings) {
    const std::vector<std::string> texts = setting_texts(runs, setting);
    for (size_t i = 0; i < runs.size(); ++i) values[i].push_back(texts[i]);
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto is_alike = [&](const RunGroup& group) {
      const RunResults& other = *group.runs.front();
      return !runs[i].settings.empty() && !other.settings.empty() && other.kind == runs[i].kind &&
             group.values == values[i];
    };
    auto group = std::find_if(comparison.groups.begin(), comparison.groups.end(), is_alike);
    if (group == comparison.groups.end())
      group = comparison.groups.insert(comparison.groups.end(), {"", {}, values[i]});
    group->runs.push_back(&runs[i]);
  }
  for (RunGroup& group : comparison.groups) {
    std::vector<std::string> names;
    for (const RunResults* run : group.runs) names.push_back(run->name);
    group.name = shared_name(names);
  }
  return comparison;
}

std::string settings_text(const Comparison& comparison, const RunGroup& group) {
  std::string text;
  for (size_t i = 0; i < comparison.settings.size(); ++i)
    if (!group.values[i].empty())
      text += (text.empty() ? "" : ", ") + comparison.settings[i] + " " + group.values[i];
  return text;
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
