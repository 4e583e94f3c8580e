#pragma once
// Runs from the folders and files that a user names.

#include <string>
#include <vector>

#include "lib/report/runs/run_results.h"

namespace gca::report {

/// In the order of `paths`, each run once. A path is
///   - the folder of a run: metrics.jsonl, report.json or the checkpoint of a run that has not ended, and any
///     reports of gca eval and gca bench in it. A file of it (report.json, metrics.jsonl) and its checkpoint/
///     stand for the folder;
///   - a report. One of gca eval on the checkpoint of a run that is named, too, becomes part of that run.
/// Runs are named by run_names.h, with `labels`. Throws Error(usage) naming a path that holds nothing of the
/// kind, or a file that is damaged.
std::vector<RunResults> read_runs(const std::vector<std::string>& paths,
                                  const std::vector<std::string>& labels = {});

}  // namespace gca::report
