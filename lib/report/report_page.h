#pragma once
// Runs side by side, on one page for a browser: no network, no other file.

#include <string>

#include "lib/report/runs/comparison.h"

namespace gca::report {

/// The page of lib/report/page, with its data: what differs, the numbers of group_summary.h, the charts of
/// report_charts.h.
std::string report_page(const Comparison& comparison);

}  // namespace gca::report
