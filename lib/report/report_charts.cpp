#include "lib/report/report_charts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

#include "lib/core/size_suffix.h"

namespace gca::report {
namespace {

using nlohmann::json;

constexpr size_t kCurvePoints = 300;  ///< a longer curve is drawn by means

struct ChartPoint {
  double x = 0;
  double y = 0;
};

struct ChartSeries {
  std::string label;
  size_t group = 0;            ///< its colour
  bool is_single_run = false;  ///< of a group of several: thin, not in the legend
  bool is_dashed = false;
  bool has_marks = false;
  std::vector<ChartPoint> points = {};
};

struct ChartAxis {
  const char* title;
  bool is_log2 = false;
};

json line_chart(const std::string& title, const ChartAxis& x, const ChartAxis& y,
                const std::vector<ChartSeries>& series) {
  json lines = json::array();
  for (const ChartSeries& one : series) {
    json points = json::array();
    for (const ChartPoint& point : one.points)
      if (std::isfinite(point.x) && std::isfinite(point.y)) points.push_back({point.x, point.y});
    lines.push_back({{"label", one.label},
                     {"group", one.group},
                     {"is_single_run", one.is_single_run},
                     {"is_dashed", one.is_dashed},
                     {"has_marks", one.has_marks},
                     {"points", std::move(points)}});
  }
  return {{"title", title},
          {"x", {{"title", x.title}, {"is_log2", x.is_log2}}},
          {"y", {{"title", y.title}}},
          {"series", std::move(lines)}};
}

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

/// A line for each run, and one for their mean.
void add_curves(const RunGroup& group, size_t number, std::vector<LossPoint> RunResults::*losses,
                std::vector<ChartSeries>& series) {
  std::vector<std::vector<ChartPoint>> curves;
  for (const RunResults* run : group.runs)
    if (!(run->*losses).empty()) curves.push_back(thinned(run->*losses));
  if (curves.empty()) return;
  if (curves.size() > 1)
    for (const auto& curve : curves)
      series.push_back({.label = group.label, .group = number, .is_single_run = true, .points = curve});
  series.push_back({.label = group.label, .group = number, .points = mean_curve(curves)});
}

void add_loss_chart(std::span<const RunGroup> groups, const char* title,
                    std::vector<LossPoint> RunResults::*losses, json& charts) {
  std::vector<ChartSeries> series;
  for (size_t g = 0; g < groups.size(); ++g) add_curves(groups[g], g, losses, series);
  if (!series.empty())
    charts.push_back(line_chart(title, {"text tokens trained on"}, {"nats a token"}, series));
}

/// Values by retriever and a size, over the runs of a group.
using BySize = std::map<std::string, std::map<int64_t, std::vector<double>>>;

/// A line for each group and retriever; the retrievers after the first are dashed.
void add_size_chart(std::span<const RunGroup> groups, const std::string& title, const ChartAxis& x,
                    const ChartAxis& y, const std::vector<BySize>& values, json& charts) {
  std::vector<ChartSeries> series;
  for (size_t g = 0; g < groups.size(); ++g) {
    bool is_first = true;
    for (const auto& [retriever, sizes] : values[g]) {
      ChartSeries line{.label = groups[g].label + (values[g].size() > 1 ? ", " + retriever : ""),
                       .group = g,
                       .is_dashed = !is_first,
                       .has_marks = true};
      for (const auto& [size, all] : sizes)
        line.points.push_back({static_cast<double>(size), spread_of(all).mean});
      series.push_back(std::move(line));
      is_first = false;
    }
  }
  if (!series.empty()) charts.push_back(line_chart(title, x, y, series));
}

void add_context_chart(std::span<const RunGroup> groups, json& charts) {
  std::vector<BySize> values(groups.size());
  for (size_t g = 0; g < groups.size(); ++g)
    for (const RunResults* run : groups[g].runs)
      for (const ContextLoss& loss : run->contexts)
        values[g][loss.retriever][loss.context].push_back(loss.perplexity);
  add_size_chart(groups, "Perplexity by context", {"context, text tokens", true}, {"perplexity"}, values,
                 charts);
}

/// Of the longest context that was measured. A bucket stands at its end: the first begins at 0.
void add_position_chart(std::span<const RunGroup> groups, json& charts) {
  int64_t longest = 0;
  for (const RunGroup& group : groups)
    for (const RunResults* run : group.runs)
      for (const ReportedPositionLoss& loss : run->positions) longest = std::max(longest, loss.context);
  std::vector<BySize> values(groups.size());
  for (size_t g = 0; g < groups.size(); ++g)
    for (const RunResults* run : groups[g].runs)
      for (const ReportedPositionLoss& loss : run->positions)
        if (loss.context == longest) values[g][loss.retriever][loss.to].push_back(loss.loss);
  add_size_chart(groups, "Loss by position, at a context of " + size_text(longest),
                 {"tokens before, up to", true}, {"nats a token"}, values, charts);
}

std::set<std::string> tasks_of(std::span<const RunGroup> groups) {
  std::set<std::string> tasks;
  for (const RunGroup& group : groups)
    for (const RunResults* run : group.runs)
      for (const Recall& recall : run->recalls) tasks.insert(recall.task);
  return tasks;
}

void add_accuracy_chart(std::span<const RunGroup> groups, const std::string& task, json& charts) {
  std::vector<BySize> values(groups.size());
  for (size_t g = 0; g < groups.size(); ++g)
    for (const RunResults* run : groups[g].runs)
      for (const Recall& recall : run->recalls)
        if (recall.task == task && std::isnan(recall.depth) && recall.trials > 0)
          values[g][recall.retriever][recall.context].push_back(100.0 * static_cast<double>(recall.correct) /
                                                                static_cast<double>(recall.trials));
  add_size_chart(groups, task + ": found, by context", {"context, text tokens", true}, {"% found"}, values,
                 charts);
}

/// Trials and hits, added up over the runs of a group.
struct Hits {
  int64_t trials = 0;
  int64_t correct = 0;
};

json depth_cell(const Hits& hits, int64_t context, double depth) {
  if (hits.trials == 0) return nullptr;
  return {{"share", static_cast<double>(hits.correct) / static_cast<double>(hits.trials)},
          {"hint", fmt::format("context {}, depth {:.0f} %: {} of {}", context, 100 * depth, hits.correct,
                               hits.trials)}};
}

void add_depth_map(const RunGroup& group, const std::string& task, const std::string& retriever,
                   bool names_retriever, json& charts) {
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
  if (hits.empty()) return;
  json rows = json::array(), columns = json::array(), cells = json::array();
  for (const int64_t context : contexts) columns.push_back(size_text(context));
  for (auto& [depth, by_context] : hits) {
    rows.push_back(fmt::format("{:.0f} %", 100 * depth));
    json row = json::array();
    for (const int64_t context : contexts) row.push_back(depth_cell(by_context[context], context, depth));
    cells.push_back(std::move(row));
  }
  charts.push_back({{"title", task + ": % found; " + group.label + (names_retriever ? ", " + retriever : "")},
                    {"columns", {{"title", "context, text tokens"}, {"labels", std::move(columns)}}},
                    {"rows", {{"title", "depth"}, {"labels", std::move(rows)}}},
                    {"cells", std::move(cells)}});
}

void add_depth_maps(std::span<const RunGroup> groups, const std::string& task, json& charts) {
  for (const RunGroup& group : groups) {
    std::set<std::string> retrievers;
    for (const RunResults* run : group.runs)
      for (const Recall& recall : run->recalls)
        if (recall.task == task) retrievers.insert(recall.retriever);
    for (const std::string& retriever : retrievers)
      add_depth_map(group, task, retriever, retrievers.size() > 1, charts);
  }
}

}  // namespace

json report_charts(std::span<const RunGroup> groups) {
  json charts = json::array();
  add_loss_chart(groups, "Training loss", &RunResults::train, charts);
  add_loss_chart(groups, "Validation loss", &RunResults::valid, charts);
  add_context_chart(groups, charts);
  add_position_chart(groups, charts);
  for (const std::string& task : tasks_of(groups)) {
    add_accuracy_chart(groups, task, charts);
    add_depth_maps(groups, task, charts);
  }
  return charts;
}

}  // namespace gca::report
