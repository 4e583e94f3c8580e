#pragma once
// Runs side by side, for a terminal and on one page for a browser: no network, no other file.

#include <span>
#include <string>

#include "lib/report/run_groups.h"

namespace gca::report {

/// A line for each group: runs, parameters, tokens, last validation loss with its range.
std::string report_table(std::span<const RunGroup> groups);

/// The page: a table, and the charts of report_charts.h, which its script draws.
std::string report_page(std::span<const RunGroup> groups);

}  // namespace gca::report
