#include "lib/report/report_table.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "lib/core/utf8.h"
#include "lib/report/runs/group_summary.h"
#include "lib/report/text_table.h"

namespace gca::report {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kNameWidth = 36;  ///< at most

std::string number_or_dash(double x, const char* format) {
  if (!std::isfinite(x)) return "-";
  std::string text = fmt::format(fmt::runtime(format), x);
  if (text.front() == '-' && text.find_first_of("123456789") == std::string::npos)
    text.erase(0, 1);  // -0.000
  return text;
}

/// 1536, 12.3K, 1.50M in powers of 1000.
std::string count_text(double x) {
  for (const char* suffix : {"", "K", "M", "G"}) {
    if (x < 999.5) return *suffix == 0 ? fmt::format("{:.0f}", x) : fmt::format("{:.3g}{}", x, suffix);
    x /= 1000;
  }
  return fmt::format("{:.3g}T", x);
}

struct Column {
  const char* title;
  std::function<std::string(const RunGroup&, const GroupSummary&)> text;  ///< "-": not known
};

std::vector<Column> columns(bool has_groups) {
  std::vector<Column> list;
  if (has_groups)
    list.push_back({"runs", [](const RunGroup& group, const GroupSummary&) {
                      return std::to_string(group.runs.size());
                    }});
  list.push_back({"tokens", [](const RunGroup&, const GroupSummary& summary) {
                    if (summary.tokens == 0 && summary.steps == 0) return std::string("-");
                    return count_text(static_cast<double>(summary.tokens)) + (summary.has_ended ? "" : "*");
                  }});
  list.push_back({"min", [](const RunGroup&, const GroupSummary& summary) {
                    return number_or_dash(summary.seconds.mean / 60, "{:.1f}");
                  }});
  list.push_back({"loss", [](const RunGroup&, const GroupSummary& summary) {
                    return number_or_dash(summary.loss.mean, "{:.4f}");
                  }});
  if (has_groups)
    list.push_back({"range", [](const RunGroup& group, const GroupSummary& summary) {
                      return group.runs.size() == 1
                                 ? "-"
                                 : number_or_dash(summary.loss.high - summary.loss.low, "{:.4f}");
                    }});
  list.push_back({"b/byte", [](const RunGroup&, const GroupSummary& summary) {
                    return number_or_dash(summary.bits_per_byte.mean, "{:.4f}");
                  }});
  list.push_back({"reading", [](const RunGroup&, const GroupSummary& summary) {
                    return number_or_dash(summary.of_reading.mean, "{:.3f}");
                  }});
  list.push_back({"choice", [](const RunGroup&, const GroupSummary& summary) {
                    return number_or_dash(summary.of_choice.mean, "{:.3f}");
                  }});
  return list;
}

std::vector<std::string> names_of(const Comparison& comparison) {
  std::vector<std::string> names;
  for (const RunGroup& group : comparison.groups) names.push_back(group.name);
  return names;
}

/// `name` on two lines, broken after the "_" that is nearest to its middle.
std::string broken_name(std::string name) {
  size_t best = std::string::npos;
  const auto distance = [&](size_t at) {
    return std::max(2 * at, name.size()) - std::min(2 * at, name.size());
  };
  for (size_t at = name.find('_'); at != std::string::npos; at = name.find('_', at + 1))
    if (best == std::string::npos || distance(at) < distance(best)) best = at;
  if (best != std::string::npos) name.insert(best + 1, "\n");
  return name;
}

/// As a table where it fits, if need be with a head of two lines; else a paragraph for each group.
std::string differences_text(const Comparison& comparison, size_t name_width) {
  constexpr size_t kGap = 2;
  for (const bool breaks_names : {false, true}) {
    TextTable table(names_of(comparison));
    for (size_t i = 0; i < comparison.settings.size(); ++i) {
      std::vector<std::string> texts;
      for (const RunGroup& group : comparison.groups) texts.push_back(group.values[i]);
      const std::string& name = comparison.settings[i];
      table.add_column(breaks_names ? broken_name(name) : name, std::move(texts));
    }
    if (name_width + table.columns_width(kGap) <= kWidth)
      return table.text("run", name_width, kGap, TextTable::Side::left);
  }
  std::string text;
  for (const RunGroup& group : comparison.groups)
    if (const std::string settings = settings_text(comparison, group); !settings.empty())
      text += wrapped(group.name + ": " + settings, kWidth, 4);
  return text;
}

}  // namespace

std::string report_table(const Comparison& comparison) {
  std::vector<GroupSummary> summaries;
  bool has_groups = false, has_unfinished = false, has_validation = false;
  size_t name_width = 4;
  for (const RunGroup& group : comparison.groups) {
    const GroupSummary& summary = summaries.emplace_back(summarise(group));
    has_groups |= group.runs.size() > 1;
    has_unfinished |= !summary.has_ended;
    has_validation |= std::isfinite(summary.loss.mean);
    name_width = std::max(name_width, count_utf8(group.name));
  }
  TextTable numbers(names_of(comparison));
  for (const Column& column : columns(has_groups)) {
    std::vector<std::string> texts;
    for (size_t g = 0; g < summaries.size(); ++g)
      texts.push_back(column.text(comparison.groups[g], summaries[g]));
    if (!std::all_of(texts.begin(), texts.end(), [](const std::string& text) { return text == "-"; }))
      numbers.add_column(column.title, std::move(texts));
  }
  name_width = std::min(name_width, kNameWidth);
  const size_t gap = name_width + numbers.columns_width(2) <= kWidth ? 2 : 1;
  name_width = std::min(name_width, kWidth - numbers.columns_width(gap));
  std::string table = numbers.text("run", name_width, gap, TextTable::Side::right);
  if (has_unfinished) table += "* has not ended\n";
  if (has_validation)
    table +=
        "loss, b/byte: of the last validation, nats per token and bits per byte\n"
        "reading, choice: what they gain in it, nats per token\n";
  if (!comparison.settings.empty()) table += "\nWhat differs\n" + differences_text(comparison, name_width);
  return table;
}

}  // namespace gca::report
