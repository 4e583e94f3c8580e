#pragma once
// Charts as SVG elements to stand in a page. Colours are the page's: classes c0, c1, ... and --ink, --faint, --line.

#include <string>
#include <vector>

namespace gca {

struct ChartPoint {
  double x = 0;
  double y = 0;
};

struct ChartSeries {
  std::string label;
  int colour = 0;         ///< class c<colour>
  bool is_faint = false;  ///< one run of several: thin, not in the legend
  bool is_dashed = false;
  bool has_marks = false;
  std::vector<ChartPoint> points = {};
};

struct ChartAxis {
  std::string title;
  bool is_log2 = false;  ///< ticks at powers of two
};

/// Lines over a grid, with a legend below. Points that are not finite break no line: they are left out.
std::string line_chart(const std::string& title, const ChartAxis& x, const ChartAxis& y,
                       const std::vector<ChartSeries>& series);

struct HeatCell {
  double value = 0;  ///< 0 to 1
  std::string text = {};
  std::string hint = {};  ///< shown under the pointer
  bool is_known = true;
};

/// rows x columns cells, red for 0 over yellow to green for 1, each with its text.
std::string heat_map(const std::string& title, const std::string& row_title,
                     const std::vector<std::string>& rows, const std::string& column_title,
                     const std::vector<std::string>& columns,
                     const std::vector<std::vector<HeatCell>>& cells);

/// &, <, > and quotes as entities.
std::string escaped(const std::string& text);

/// 1536, 12.3K, 1.5M in powers of 1000; contexts and positions as 2K in powers of 1024 where they are.
std::string count_text(double x);
std::string size_text(double x);

}  // namespace gca
