#pragma once
// Runs side by side: what differs between them, and which stand together because they differ in their seed
// alone.

#include <span>
#include <string>
#include <vector>

#include "lib/report/runs/run_results.h"

namespace gca::report {

struct RunGroup {
  std::string name;                     ///< of its run; of several what their names share, "gca-*"
  std::vector<const RunResults*> runs;  ///< one or more
  std::vector<std::string> values;      ///< of Comparison::settings; empty where the runs do not say
};

struct Comparison {
  std::vector<std::string> settings;  ///< in which the groups differ (setting_texts.h)
  std::vector<RunGroup> groups;       ///< in the order in which their first runs were given
};

/// Points into `runs`. A run of which no setting is known stands alone.
Comparison compare_runs(std::span<const RunResults> runs);

/// "batch 1, long_range gca": the values in which this group differs from others; empty where there are none.
std::string settings_text(const Comparison& comparison, const RunGroup& group);

/// What the names share: "gca-1" and "gca-2" are "gca-*"; "a +2" where they share nothing.
std::string shared_name(const std::vector<std::string>& names);

/// Mean and range over the runs of a group.
struct Spread {
  double mean = kUnknownNumber;
  double low = kUnknownNumber;
  double high = kUnknownNumber;
};

/// NaN is left out; all NaN where nothing is left.
Spread spread_of(const std::vector<double>& values);

}  // namespace gca::report
