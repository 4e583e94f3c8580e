#include "lib/report/charts/chart.h"

namespace gca::report {
namespace {

using nlohmann::json;

json chart(const ChartTexts& texts, const char* x, const ChartTraits& traits,
           const std::vector<ChartSeries>& series) {
  json lines = json::array();
  for (const ChartSeries& one : series)
    lines.push_back({{"group", one.group},
                     {"line", one.line},
                     {"is_single_run", one.is_single_run},
                     {"points", one.points}});
  return {
      {"section", texts.section},          {"title", texts.title},      {"unit", texts.unit},        {"x", x},
      {"skips_start", traits.skips_start}, {"smooths", traits.smooths}, {"series", std::move(lines)}};
}

}  // namespace

double shown_number(double x) {
  constexpr int kDigits = 6;
  if (x == 0 || !std::isfinite(x)) return x;
  const int decimals = kDigits - 1 - static_cast<int>(std::floor(std::log10(std::abs(x))));
  // Divided by a power of ten that is exact, the result is the double nearest to the decimal number.
  if (decimals <= 0 || decimals > 22) return x;
  const double factor = std::pow(10.0, decimals);
  return std::round(x * factor) / factor;
}

json to_json(const std::vector<TrainingValue>& values) {
  json points = json::array();
  for (const TrainingValue& value : values) {
    if (!std::isfinite(value.y)) continue;
    const double minutes = value.seconds / 60.0;
    points.push_back({std::round(value.step), std::round(value.tokens),
                      std::isfinite(minutes) ? json(shown_number(minutes)) : json(nullptr),
                      shown_number(value.y)});
  }
  return points;
}

json to_json(const std::vector<SizeValue>& values) {
  json points = json::array();
  for (const SizeValue& value : values)
    if (std::isfinite(value.y)) points.push_back({value.x, shown_number(value.y)});
  return points;
}

json training_chart(const ChartTexts& texts, const ChartTraits& traits,
                    const std::vector<ChartSeries>& series) {
  return chart(texts, "training", traits, series);
}

json size_chart(const ChartTexts& texts, const std::string& x_title, const ChartTraits& traits,
                const std::vector<ChartSeries>& series) {
  json content = chart(texts, "size", traits, series);
  content["x_title"] = x_title;
  return content;
}

}  // namespace gca::report
