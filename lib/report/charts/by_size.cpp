#include "lib/report/charts/by_size.h"

namespace gca::report {

void add_chart_by_size(const BySize& values, const ChartTexts& texts, const std::string& x_title,
                       const ChartTraits& traits, nlohmann::json& charts) {
  std::vector<ChartSeries> series;
  for (const auto& [key, sizes] : values) {
    std::vector<SizeValue> points;
    for (const auto& [size, all] : sizes) points.push_back({static_cast<double>(size), spread_of(all).mean});
    if (nlohmann::json shown = to_json(points); !shown.empty())
      series.push_back({.group = key.first, .line = key.second, .points = std::move(shown)});
  }
  if (!series.empty()) charts.push_back(size_chart(texts, x_title, traits, series));
}

}  // namespace gca::report
