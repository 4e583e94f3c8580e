#pragma once
// Runs side by side, for a terminal.

#include <string>

#include "lib/report/runs/comparison.h"

namespace gca::report {

/// A line of at most 80 characters for each group: tokens, minutes of training, the last validation and what
/// reading gained in it; below, the settings in which the groups differ. What no group has is no column.
std::string report_table(const Comparison& comparison);

}  // namespace gca::report
