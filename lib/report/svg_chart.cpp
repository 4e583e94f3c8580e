#include "lib/report/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace gca {
namespace {

constexpr double kWidth = 640;
constexpr double kHeight = 360;
constexpr double kLeft = 64, kRight = 16, kTop = 34, kBottom = 44;
constexpr double kLegendLine = 18;

/// A range of numbers on a stretch of pixels.
struct Scale {
  double low = 0, high = 1;
  double first_pixel = 0, last_pixel = 1;
  bool is_log2 = false;

  double place(double x) const {
    const double from = is_log2 ? std::log2(low) : low;
    const double to = is_log2 ? std::log2(high) : high;
    const double at = is_log2 ? std::log2(x) : x;
    return first_pixel + (last_pixel - first_pixel) * (at - from) / (to - from);
  }

  /// Round numbers in the range: five or so, or powers of two.
  std::vector<double> ticks() const {
    std::vector<double> ticks;
    if (is_log2) {
      double step = 1;
      while (std::log2(high / low) / step > 10) step *= 2;
      for (double power = std::ceil(std::log2(low) - 1e-9); power <= std::log2(high) + 1e-9; power += step)
        ticks.push_back(std::exp2(power));
      return ticks;
    }
    const double rough = (high - low) / 5;
    const double magnitude = std::pow(10, std::floor(std::log10(rough)));
    const double leading = rough / magnitude;
    const double step = magnitude * (leading < 1.5 ? 1 : leading < 3.5 ? 2 : leading < 7.5 ? 5 : 10);
    for (double tick = std::ceil(low / step - 1e-9) * step; tick <= high + 1e-9 * step; tick += step)
      ticks.push_back(std::abs(tick) < 1e-12 * step ? 0 : tick);
    return ticks;
  }
};

bool is_shown(const ChartPoint& point, bool log_x) {
  return std::isfinite(point.x) && std::isfinite(point.y) && (!log_x || point.x > 0);
}

/// Ends of all shown points along one axis; a little room where they are all the same.
std::pair<double, double> ends_of(const std::vector<ChartSeries>& series, bool log_x,
                                  double ChartPoint::*axis) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const ChartSeries& one : series)
    for (const ChartPoint& point : one.points)
      if (is_shown(point, log_x)) low = std::min(low, point.*axis), high = std::max(high, point.*axis);
  if (!(low <= high)) return {0, 1};
  if (low == high)
    return log_x && axis == &ChartPoint::x ? std::pair(low / 2, high * 2) : std::pair(low - 0.5, high + 0.5);
  return {low, high};
}

std::string tick_text(double x) {
  if (x != 0 && std::abs(x) < 1000) return fmt::format("{:.4g}", x);
  return count_text(x);
}

std::string text_at(double x, double y, const std::string& anchor, const std::string& text,
                    const char* more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
                     escaped(text));
}

std::string head(const std::string& title, double width, double height) {
  return fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" width=\"{:.0f}\" role=\"img\" aria-label=\"{}\">\n",
                     width, height, width, escaped(title)) +
         text_at(8, 20, "start", title, " class=\"title\"");
}

std::string grid(const Scale& x, const Scale& y, const ChartAxis& x_axis, const ChartAxis& y_axis) {
  std::string svg;
  for (const double tick : y.ticks()) {
    svg += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                       kLeft, kWidth - kRight, y.place(tick), y.place(tick));
    svg += text_at(kLeft - 6, y.place(tick) + 4, "end", tick_text(tick));
  }
  for (const double tick : x.ticks()) {
    svg += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                       x.place(tick), x.place(tick), kTop, kHeight - kBottom);
    svg += text_at(x.place(tick), kHeight - kBottom + 16, "middle",
                   x_axis.is_log2 ? size_text(tick) : tick_text(tick));
  }
  svg += text_at((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", x_axis.title, " class=\"axis\"");
  const double middle = (kTop + kHeight - kBottom) / 2;
  return svg + text_at(14, middle, "middle", y_axis.title,
                       fmt::format(" class=\"axis\" transform=\"rotate(-90 14 {:.1f})\"", middle).c_str());
}

std::string path_of(const ChartSeries& series, const Scale& x, const Scale& y) {
  std::string path;
  std::string marks;
  for (const ChartPoint& point : series.points) {
    if (!is_shown(point, x.is_log2)) continue;
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x.place(point.x), y.place(point.y));
    if (series.has_marks)
      marks += fmt::format(
          "<circle class=\"c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{}: {}, "
          "{:.5g}</title></circle>\n",
          series.colour, x.place(point.x), y.place(point.y), escaped(series.label),
          x.is_log2 ? size_text(point.x) : count_text(point.x), point.y);
  }
  if (path.empty()) return "";
  return fmt::format("<path class=\"c{}{}{}\" d=\"{}\"/>\n", series.colour, series.is_faint ? " thin" : "",
                     series.is_dashed ? " dashed" : "", path) +
         marks;
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string count_text(double x) {
  for (const char* suffix : {"", "K", "M", "G"}) {
    if (std::abs(x) < 999.5) return fmt::format("{:.3g}{}", x, suffix);
    x /= 1000;
  }
  return fmt::format("{:.3g}T", x);
}

std::string size_text(double x) {
  for (const char* suffix : {"", "K", "M", "G"}) {
    if (x < 1024 || std::fmod(x, 1024) != 0) return fmt::format("{:.0f}{}", x, suffix);
    x /= 1024;
  }
  return fmt::format("{:.0f}T", x);
}

std::string line_chart(const std::string& title, const ChartAxis& x_axis, const ChartAxis& y_axis,
                       const std::vector<ChartSeries>& series) {
  const auto [x_low, x_high] = ends_of(series, x_axis.is_log2, &ChartPoint::x);
  const auto [y_low, y_high] = ends_of(series, x_axis.is_log2, &ChartPoint::y);
  const Scale x{x_low, x_high, kLeft, kWidth - kRight, x_axis.is_log2};
  const double room = 0.04 * (y_high - y_low);
  const Scale y{y_low - room, y_high + room, kHeight - kBottom, kTop, false};
  const auto shown =
      std::count_if(series.begin(), series.end(), [](const ChartSeries& one) { return !one.is_faint; });
  const double height = kHeight + kLegendLine * static_cast<double>(shown) + 4;
  std::string svg = head(title, kWidth, height) + grid(x, y, x_axis, y_axis);
  for (const bool faint : {true, false})
    for (const ChartSeries& one : series)
      if (one.is_faint == faint) svg += path_of(one, x, y);
  double line = kHeight + 8;
  for (const ChartSeries& one : series) {
    if (one.is_faint) continue;
    svg += fmt::format("<path class=\"c{}{}\" d=\"M{} {:.1f}h24\"/>\n", one.colour,
                       one.is_dashed ? " dashed" : "", kLeft, line - 4);
    svg += text_at(kLeft + 32, line, "start", one.label);
    line += kLegendLine;
  }
  return svg + "</svg>\n";
}

std::string heat_map(const std::string& title, const std::string& row_title,
                     const std::vector<std::string>& rows, const std::string& column_title,
                     const std::vector<std::string>& columns,
                     const std::vector<std::vector<HeatCell>>& cells) {
  constexpr double kCellWidth = 54, kCellHeight = 26, kLabels = 92, kHead = 34;
  const double width = std::max(420.0, kLabels + kCellWidth * static_cast<double>(columns.size()) + 16);
  const double bottom = kHead + kCellHeight * static_cast<double>(rows.size());
  std::string svg = head(title, width, bottom + 48);
  for (size_t row = 0; row < rows.size(); ++row) {
    const double y = kHead + kCellHeight * static_cast<double>(row);
    svg += text_at(kLabels - 8, y + kCellHeight / 2 + 4, "end", rows[row]);
    for (size_t column = 0; column < columns.size(); ++column) {
      const HeatCell& cell = cells[row][column];
      const double x = kLabels + kCellWidth * static_cast<double>(column);
      if (!cell.is_known) continue;
      svg += fmt::format(
          "<g><title>{}</title><rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
          "style=\"fill:hsl({:.0f} "
          "60% var(--heat))\"/>",
          escaped(cell.hint), x + 0.5, y + 0.5, kCellWidth - 1, kCellHeight - 1,
          120 * std::clamp(cell.value, 0.0, 1.0));
      svg += text_at(x + kCellWidth / 2, y + kCellHeight / 2 + 4, "middle", cell.text) + "</g>\n";
    }
  }
  for (size_t column = 0; column < columns.size(); ++column)
    svg += text_at(kLabels + kCellWidth * (static_cast<double>(column) + 0.5), bottom + 18, "middle",
                   columns[column]);
  svg += text_at(kLabels + kCellWidth * static_cast<double>(columns.size()) / 2, bottom + 38, "middle",
                 column_title, " class=\"axis\"");
  const double middle = (kHead + bottom) / 2;
  svg += text_at(14, middle, "middle", row_title,
                 fmt::format(" class=\"axis\" transform=\"rotate(-90 14 {:.1f})\"", middle).c_str());
  return svg + "</svg>\n";
}

}  // namespace gca
