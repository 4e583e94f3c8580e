#include "lib/report/report_page.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

#include "lib/report/svg_chart.h"

namespace gca {

extern const std::string_view kReportPageHtml;  // report_page.html

namespace {

constexpr size_t kCurvePoints = 300;  ///< a longer curve is drawn by means

/// The curve by tokens, thinned by means over equal numbers of points.
std::vector<ChartPoint> thinned(const std::vector<LossPoint>& losses) {
  std::vector<ChartPoint> points;
  const size_t count = std::min(losses.size(), kCurvePoints);
  for (size_t i = 0; i < count; ++i) {
    ChartPoint mean;
    double known = 0;
    for (size_t j = i * losses.size() / count; j < (i + 1) * losses.size() / count; ++j) {
      if (!std::isfinite(losses[j].loss)) continue;
      mean.x += static_cast<double>(losses[j].tokens);
      mean.y += losses[j].loss;
      known += 1;
    }
    if (known > 0) points.push_back({mean.x / known, mean.y / known});
  }
  return points;
}

/// The mean of several curves that were looked at after the same numbers of tokens.
std::vector<ChartPoint> mean_curve(const std::vector<std::vector<ChartPoint>>& curves) {
  std::vector<ChartPoint> mean;
  size_t length = curves.empty() ? 0 : curves.front().size();
  for (const auto& curve : curves) length = std::min(length, curve.size());
  for (size_t i = 0; i < length; ++i) {
    ChartPoint sum;
    for (const auto& curve : curves) sum.x += curve[i].x, sum.y += curve[i].y;
    const auto count = static_cast<double>(curves.size());
    mean.push_back({sum.x / count, sum.y / count});
  }
  return mean;
}

/// A thin line a run and a thick one for their mean.
void add_curves(const RunGroup& group, int colour, std::vector<LossPoint> RunResults::*losses,
                std::vector<ChartSeries>& series) {
  std::vector<std::vector<ChartPoint>> curves;
  for (const RunResults* run : group.runs)
    if (!(run->*losses).empty()) curves.push_back(thinned(run->*losses));
  if (curves.empty()) return;
  if (curves.size() > 1)
    for (const auto& curve : curves)
      series.push_back({.label = group.label, .colour = colour, .is_faint = true, .points = curve});
  series.push_back({.label = group.label, .colour = colour, .points = mean_curve(curves)});
}

std::string loss_chart(std::span<const RunGroup> groups, const char* title,
                       std::vector<LossPoint> RunResults::*losses) {
  std::vector<ChartSeries> series;
  for (size_t g = 0; g < groups.size(); ++g) add_curves(groups[g], static_cast<int>(g), losses, series);
  if (series.empty()) return "";
  return line_chart(title, {"text tokens trained on"}, {"nats a token"}, series);
}

/// Values by retriever and a size, over the runs of a group.
using BySize = std::map<std::string, std::map<int64_t, std::vector<double>>>;

/// A line a group and retriever; the retrievers after the first are dashed.
std::string size_chart(std::span<const RunGroup> groups, const std::string& title, const ChartAxis& x,
                       const ChartAxis& y, const std::vector<BySize>& values) {
  std::vector<ChartSeries> series;
  for (size_t g = 0; g < groups.size(); ++g) {
    bool is_first = true;
    for (const auto& [retriever, sizes] : values[g]) {
      ChartSeries line{.label = groups[g].label + (values[g].size() > 1 ? ", " + retriever : ""),
                       .colour = static_cast<int>(g),
                       .is_dashed = !is_first,
                       .has_marks = true};
      for (const auto& [size, all] : sizes)
        line.points.push_back({static_cast<double>(size), spread_of(all).mean});
      series.push_back(std::move(line));
      is_first = false;
    }
  }
  return series.empty() ? "" : line_chart(title, x, y, series);
}

std::string context_chart(std::span<const RunGroup> groups) {
  std::vector<BySize> values(groups.size());
  for (size_t g = 0; g < groups.size(); ++g)
    for (const RunResults* run : groups[g].runs)
      for (const ContextLoss& loss : run->contexts)
        values[g][loss.retriever][loss.context].push_back(loss.perplexity);
  return size_chart(groups, "Perplexity by context", {"context, text tokens", true}, {"perplexity"}, values);
}

/// Of the longest context that was measured. A bucket stands at its end: the first begins at 0.
std::string position_chart(std::span<const RunGroup> groups) {
  int64_t longest = 0;
  for (const RunGroup& group : groups)
    for (const RunResults* run : group.runs)
      for (const PositionLoss& loss : run->positions) longest = std::max(longest, loss.context);
  std::vector<BySize> values(groups.size());
  for (size_t g = 0; g < groups.size(); ++g)
    for (const RunResults* run : groups[g].runs)
      for (const PositionLoss& loss : run->positions)
        if (loss.context == longest) values[g][loss.retriever][loss.to].push_back(loss.loss);
  return size_chart(groups, "Loss by position, at a context of " + size_text(static_cast<double>(longest)),
                    {"tokens before, up to", true}, {"nats a token"}, values);
}

/// Trials and hits of runs, tasks and retrievers, added up over seeds.
struct Hits {
  int64_t trials = 0;
  int64_t correct = 0;
  double share() const { return trials > 0 ? static_cast<double>(correct) / static_cast<double>(trials) : 0; }
};

std::set<std::string> tasks_of(std::span<const RunGroup> groups) {
  std::set<std::string> tasks;
  for (const RunGroup& group : groups)
    for (const RunResults* run : group.runs)
      for (const Recall& recall : run->recalls) tasks.insert(recall.task);
  return tasks;
}

std::string accuracy_chart(std::span<const RunGroup> groups, const std::string& task) {
  std::vector<BySize> values(groups.size());
  for (size_t g = 0; g < groups.size(); ++g)
    for (const RunResults* run : groups[g].runs)
      for (const Recall& recall : run->recalls)
        if (recall.task == task && std::isnan(recall.depth) && recall.trials > 0)
          values[g][recall.retriever][recall.context].push_back(100.0 * static_cast<double>(recall.correct) /
                                                                static_cast<double>(recall.trials));
  return size_chart(groups, task + ": found, by context", {"context, text tokens", true}, {"% found"},
                    values);
}

std::string depth_map(const RunGroup& group, const std::string& task, const std::string& retriever,
                      bool names_retriever) {
  std::map<double, std::map<int64_t, Hits>> hits;  // by depth and context
  std::set<int64_t> contexts;
  for (const RunResults* run : group.runs)
    for (const Recall& recall : run->recalls) {
      if (recall.task != task || recall.retriever != retriever || std::isnan(recall.depth)) continue;
      Hits& cell = hits[recall.depth][recall.context];
      cell.trials += recall.trials;
      cell.correct += recall.correct;
      contexts.insert(recall.context);
    }
  if (hits.empty()) return "";
  std::vector<std::string> rows, columns;
  for (const int64_t context : contexts) columns.push_back(size_text(static_cast<double>(context)));
  std::vector<std::vector<HeatCell>> cells;
  for (const auto& [depth, by_context] : hits) {
    rows.push_back(fmt::format("{:.0f} %", 100 * depth));
    cells.emplace_back();
    for (const int64_t context : contexts) {
      const auto found = by_context.find(context);
      HeatCell cell{.is_known = found != by_context.end() && found->second.trials > 0};
      if (cell.is_known) {
        const Hits& here = found->second;
        cell.value = here.share();
        cell.text = fmt::format("{:.0f}", 100 * here.share());
        cell.hint = fmt::format("context {}, depth {:.0f} %: {} of {}", context, 100 * depth, here.correct,
                                here.trials);
      }
      cells.back().push_back(std::move(cell));
    }
  }
  const std::string title = task + ": % found; " + group.label + (names_retriever ? ", " + retriever : "");
  return heat_map(title, "depth", rows, "context, text tokens", columns, cells);
}

std::string depth_maps(std::span<const RunGroup> groups, const std::string& task) {
  std::string maps;
  for (const RunGroup& group : groups) {
    std::set<std::string> retrievers;
    for (const RunResults* run : group.runs)
      for (const Recall& recall : run->recalls)
        if (recall.task == task) retrievers.insert(recall.retriever);
    for (const std::string& retriever : retrievers)
      maps += depth_map(group, task, retriever, retrievers.size() > 1);
  }
  return maps;
}

struct GroupFacts {
  std::string seeds;
  int64_t parameters = 0;
  int64_t tokens = 0;
  Spread loss;  ///< of the last validation
  Spread speed;
};

GroupFacts facts_of(const RunGroup& group) {
  GroupFacts facts;
  std::vector<double> losses, speeds;
  for (const RunResults* run : group.runs) {
    facts.seeds += (facts.seeds.empty() ? "" : ", ") + std::to_string(run->seed);
    facts.parameters = std::max(facts.parameters, run->parameters);
    for (const auto* list : {&run->train, &run->valid})
      if (!list->empty()) facts.tokens = std::max(facts.tokens, list->back().tokens);
    if (!run->valid.empty()) losses.push_back(run->valid.back().loss);
    speeds.push_back(run->tokens_per_second);
  }
  facts.loss = spread_of(losses);
  facts.speed = spread_of(speeds);
  return facts;
}

std::string number_or_dash(double x, const char* format) {
  return std::isfinite(x) ? fmt::format(fmt::runtime(format), x) : "-";
}

std::string table_rows(std::span<const RunGroup> groups) {
  std::string rows;
  for (size_t g = 0; g < groups.size(); ++g) {
    const GroupFacts facts = facts_of(groups[g]);
    rows += fmt::format("<tr><td><i class=\"c{}\"></i>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>", g,
                        escaped(groups[g].label), groups[g].runs.size(), facts.seeds,
                        facts.parameters > 0 ? std::to_string(facts.parameters) : "-", facts.tokens);
    rows += fmt::format("<td>{}</td><td>{} to {}</td><td>{}</td><td>{}</td></tr>\n",
                        number_or_dash(facts.loss.mean, "{:.4f}"), number_or_dash(facts.loss.low, "{:.4f}"),
                        number_or_dash(facts.loss.high, "{:.4f}"),
                        number_or_dash(std::exp(facts.loss.mean), "{:.2f}"),
                        number_or_dash(facts.speed.mean, "{:.0f}"));
  }
  return rows;
}

std::string run_list(std::span<const RunGroup> groups) {
  std::string list;
  for (const RunGroup& group : groups) {
    list += "<dt>" + escaped(group.label) + "</dt>\n";
    for (const RunResults* run : group.runs) list += "<dd>" + escaped(run->name) + "</dd>\n";
  }
  return list;
}

void replace_mark(std::string& page, const std::string& mark, const std::string& text) {
  page.replace(page.find(mark), mark.size(), text);
}

}  // namespace

std::string report_table(std::span<const RunGroup> groups) {
  size_t width = 8;
  for (const RunGroup& group : groups) width = std::max(width, group.label.size());
  std::string table = fmt::format("{:<{}}{:>6}{:>13}{:>12}{:>12}{:>20}{:>12}\n", "settings", width, "runs",
                                  "parameters", "tokens", "valid loss", "range", "perplexity");
  for (const RunGroup& group : groups) {
    const GroupFacts facts = facts_of(group);
    table += fmt::format(
        "{:<{}}{:>6}{:>13}{:>12}{:>12}{:>20}{:>12}\n", group.label, width, group.runs.size(),
        facts.parameters, facts.tokens, number_or_dash(facts.loss.mean, "{:.4f}"),
        number_or_dash(facts.loss.low, "{:.4f}") + " to " + number_or_dash(facts.loss.high, "{:.4f}"),
        number_or_dash(std::exp(facts.loss.mean), "{:.2f}"));
  }
  return table;
}

std::string report_page(std::span<const RunGroup> groups) {
  std::string charts = loss_chart(groups, "Training loss", &RunResults::train);
  charts += loss_chart(groups, "Validation loss", &RunResults::valid);
  charts += context_chart(groups);
  charts += position_chart(groups);
  for (const std::string& task : tasks_of(groups))
    charts += accuracy_chart(groups, task) + depth_maps(groups, task);
  size_t runs = 0;
  for (const RunGroup& group : groups) runs += group.runs.size();
  std::string page(kReportPageHtml);
  // From the end: names of runs and settings may hold anything, and each mark is looked for from the front.
  replace_mark(page, "@RUNS@", run_list(groups));
  replace_mark(page, "@CHARTS@", charts);
  replace_mark(page, "@ROWS@", table_rows(groups));
  replace_mark(page, "@SUMMARY@",
               fmt::format("{} runs, {} settings. Thick lines are means over seeds, thin ones single runs.",
                           runs, groups.size()));
  return page;
}

}  // namespace gca
