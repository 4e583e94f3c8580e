#pragma once
// A chart as data: what it shows, and lines over training or over a size.

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/report/runs/comparison.h"

namespace gca::report {

/// A place in training and a value there.
struct TrainingValue {
  double step = 0;
  double tokens = 0;
  double seconds = kUnknownNumber;
  double y = kUnknownNumber;
};

struct SizeValue {
  double x = 0;
  double y = kUnknownNumber;
};

/// `x` with six significant digits: what a chart can show, in a third of the bytes.
double shown_number(double x);

nlohmann::json to_json(const std::vector<TrainingValue>& values);
nlohmann::json to_json(const std::vector<SizeValue>& values);

struct ChartSeries {
  size_t group = 0;
  std::string line = "";       ///< of several of a group: a retriever
  bool is_single_run = false;  ///< of a group of several, which has a line for their mean as well
  nlohmann::json points;       ///< of to_json()
};

/// What the reader is told of a chart.
struct ChartTexts {
  std::string section;
  std::string title;
  std::string unit;  ///< of y
};

/// "skips_start": what comes first (before training, at the first positions) is no measure for the y axis.
struct ChartTraits {
  bool skips_start = false;
  bool smooths = false;  ///< noisy enough to be smoothed
};

/// {"section", "title", "unit", "x": "training", "skips_start", "smooths", "series"}; see report_charts.h.
nlohmann::json training_chart(const ChartTexts& texts, const ChartTraits& traits,
                              const std::vector<ChartSeries>& series);
/// The same with "x": "size" and "x_title", over powers of two.
nlohmann::json size_chart(const ChartTexts& texts, const std::string& x_title, const ChartTraits& traits,
                          const std::vector<ChartSeries>& series);

}  // namespace gca::report
