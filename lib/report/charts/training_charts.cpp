#include "lib/report/charts/training_charts.h"

#include <algorithm>
#include <functional>
#include <set>

#include "lib/report/charts/curves.h"

namespace gca::report {
namespace {

using nlohmann::json;

constexpr const char* kLoss = "Loss";
constexpr const char* kRetrieval = "Retrieval";
constexpr const char* kSpeed = "Speed";
constexpr const char* kNats = "nats per token";

using CurveOf = std::function<std::vector<TrainingValue>(const RunResults&)>;

/// Values that are not known are no part of a curve.
template <class Point>
std::vector<TrainingValue> curve_of(const std::vector<Point>& points,
                                    const std::function<double(const Point&)>& y) {
  std::vector<TrainingValue> curve;
  for (const Point& point : points)
    if (const double value = y(point); std::isfinite(value))
      curve.push_back(
          {static_cast<double>(point.step), static_cast<double>(point.tokens), point.seconds, value});
  return curve;
}

CurveOf of_training(double TrainPoint::*value) {
  return [value](const RunResults& run) {
    return curve_of<TrainPoint>(run.train, [value](const TrainPoint& point) { return point.*value; });
  };
}

CurveOf of_validation(std::function<double(const ValidPoint&)> value) {
  return [value = std::move(value)](const RunResults& run) { return curve_of<ValidPoint>(run.valid, value); };
}

/// A line for each run, and one for the mean of several.
void add_lines(const Comparison& comparison, const std::string& line, const CurveOf& curve,
               std::vector<ChartSeries>& series) {
  for (size_t g = 0; g < comparison.groups.size(); ++g) {
    std::vector<std::vector<TrainingValue>> curves;
    for (const RunResults* run : comparison.groups[g].runs)
      if (std::vector<TrainingValue> points = thinned(curve(*run)); !points.empty())
        curves.push_back(std::move(points));
    if (curves.empty()) continue;
    if (curves.size() > 1)
      for (const auto& points : curves)
        series.push_back({.group = g, .line = line, .is_single_run = true, .points = to_json(points)});
    series.push_back({.group = g, .line = line, .points = to_json(mean_curve(curves))});
  }
}

void add_chart(const Comparison& comparison, const ChartTexts& texts, const ChartTraits& traits,
               const CurveOf& curve, json& charts) {
  std::vector<ChartSeries> series;
  add_lines(comparison, "", curve, series);
  if (!series.empty()) charts.push_back(training_chart(texts, traits, series));
}

/// "text" for validations of runs with one task, which do not name it.
std::string task_of(const ValidPoint& point) {
  return point.task.empty() ? "text" : point.task;
}

/// Text first.
std::vector<std::string> validated_tasks(const Comparison& comparison) {
  std::set<std::string> tasks;
  for (const RunGroup& group : comparison.groups)
    for (const RunResults* run : group.runs)
      for (const ValidPoint& point : run->valid) tasks.insert(task_of(point));
  std::vector<std::string> list(tasks.begin(), tasks.end());
  std::stable_partition(list.begin(), list.end(), [](const std::string& task) { return task == "text"; });
  return list;
}

}  // namespace

void add_loss_charts(const Comparison& comparison, json& charts) {
  const std::vector<std::string> tasks = validated_tasks(comparison);
  const auto add_of_task = [&](const std::string& title, const std::string& unit, const std::string& task,
                               bool skips_start, const std::function<double(const ValidPoint&)>& value) {
    const auto of_task = [&](const ValidPoint& point) {
      return task_of(point) == task ? value(point) : kUnknownNumber;
    };
    add_chart(comparison, {kLoss, title + (tasks.size() > 1 ? ", " + task : ""), unit},
              {.skips_start = skips_start}, of_validation(of_task), charts);
  };
  for (const std::string& task : tasks)
    add_of_task("Validation loss", kNats, task, true, [](const ValidPoint& point) { return point.loss; });
  for (const std::string& task : tasks)
    add_of_task("Validation, bits per byte", "bits per byte", task, true,
                [](const ValidPoint& point) { return point.bits_per_byte; });
  for (const std::string& task : tasks)
    add_of_task("Validation accuracy", "% right", task, false,
                [](const ValidPoint& point) { return 100 * point.accuracy; });
  add_chart(comparison, {kLoss, "Training loss", kNats}, {.skips_start = true, .smooths = true},
            of_training(&TrainPoint::loss), charts);
}

void add_retrieval_charts(const Comparison& comparison, json& charts) {
  add_chart(comparison,
            {kRetrieval, "What reading gains", "nats per token: nothing read minus learned choice"}, {},
            of_validation([](const ValidPoint& point) { return point.reading.of_reading(); }), charts);
  add_chart(comparison,
            {kRetrieval, "What choosing gains", "nats per token: random choice minus learned choice"}, {},
            of_validation([](const ValidPoint& point) { return point.reading.of_choice(); }), charts);
  std::vector<ChartSeries> losses;
  add_lines(comparison, "learned",
            of_validation([](const ValidPoint& point) { return point.reading.learned; }), losses);
  add_lines(comparison, "random", of_validation([](const ValidPoint& point) { return point.reading.random; }),
            losses);
  add_lines(comparison, "none", of_validation([](const ValidPoint& point) { return point.reading.none; }),
            losses);
  if (!losses.empty())
    charts.push_back(
        training_chart({kRetrieval, "Loss with three choices", kNats}, {.skips_start = true}, losses));
  add_chart(comparison, {kRetrieval, "Spread of the scores, validation", "standard deviation over chunks"},
            {}, of_validation([](const ValidPoint& point) { return point.reading.spread; }), charts);
  add_chart(comparison, {kRetrieval, "Spread of the scores, training", "standard deviation over chunks"},
            {.smooths = true}, of_training(&TrainPoint::spread), charts);
  add_chart(comparison, {kRetrieval, "Entropy of the weights, training", "nats"}, {.smooths = true},
            of_training(&TrainPoint::entropy), charts);
  add_chart(comparison, {kRetrieval, "Distance of what is read, training", "tokens of text"},
            {.smooths = true}, of_training(&TrainPoint::mean_distance), charts);
}

void add_speed_charts(const Comparison& comparison, json& charts) {
  add_chart(comparison, {kSpeed, "Tokens per second, training", "tokens of text per second"},
            {.skips_start = true, .smooths = true}, of_training(&TrainPoint::tokens_per_second), charts);
}

}  // namespace gca::report
