#pragma once
// The JSON that gca pretrain, gca eval and gca bench leave behind, and the state of a run that has not ended.

#include "lib/report/runs/run_results.h"

namespace gca::report {

/// "gca.pretrain/1" of a report; empty where `content` is none.
std::string schema_of(const nlohmann::json& content);

/// Adds a report to `run`. Its settings and seed are those of the first report of a run. False where it is
/// none that can be compared. Throws nlohmann's exceptions where something is missing or has a wrong type.
bool read_report(const nlohmann::json& content, RunResults& run);

/// Adds trainer_state.json of a run that has not ended, and so has no report.
void read_trainer_state(const nlohmann::json& state, RunResults& run);

}  // namespace gca::report
