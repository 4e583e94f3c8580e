#pragma once
// Runs of a sweep, gathered: those that differ in their seed alone stand together.

#include <span>
#include <string>
#include <vector>

#include "lib/report/run_results.h"

namespace gca::report {

struct RunGroup {
  std::string label;  ///< the settings in which the groups differ: "long_range none"; the run's name where
                      ///< there are none
  std::vector<const RunResults*> runs;
};

/// In the order in which the groups' first runs were given.
std::vector<RunGroup> group_runs(std::span<const RunResults> runs);

/// Mean and range over the runs of a group.
struct Spread {
  double mean = kUnknownNumber;
  double low = kUnknownNumber;
  double high = kUnknownNumber;
};

/// NaN is left out; all NaN where nothing is left.
Spread spread_of(const std::vector<double>& values);

}  // namespace gca::report
