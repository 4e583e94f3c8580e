#pragma once
// metrics.jsonl of a run, which may still be written to.

#include <string>

#include "lib/report/runs/run_results.h"

namespace gca::report {

/// Adds the steps and validations of `text` to `run`. A line that is torn or no object is left out. Throws
/// nlohmann's exceptions where a field has a wrong type.
void read_metrics(const std::string& text, RunResults& run);

/// A validation as metrics, reports and checkpoints have it.
ValidPoint valid_point(const nlohmann::json& entry);

/// Adds those validations of `list` that `run` does not have yet: of a branch, metrics.jsonl begins where it
/// left its trunk.
void merge_validations(const nlohmann::json& list, RunResults& run);

}  // namespace gca::report
