#pragma once
// What runs are called: by their folder, as people do.

#include <string>
#include <vector>

#include "lib/report/runs/run_results.h"

namespace gca::report {

/// The last part of each path; of those that would be equal, with as many of the folders above as tell them
/// apart ("a/run", "b/run"). Equal paths give equal names.
std::vector<std::string> distinct_names(const std::vector<std::string>& paths);

/// Names each run by its folder, a single report by its file ("report.json": by the folder it lies in),
/// unlike every other. `labels` are either one for each run, in their order, or NAME=LABEL with the name or
/// the path of a run. Throws Error(usage) naming --label where neither holds.
void name_runs(std::vector<RunResults>& runs, const std::vector<std::string>& labels);

}  // namespace gca::report
