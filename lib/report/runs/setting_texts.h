#pragma once
// Settings in which runs differ, and their values as people read them.

#include <span>
#include <string>
#include <vector>

#include "lib/report/runs/run_results.h"

namespace gca::report {

/// Those of which two runs have different values, by name. A run that does not say (an older version, the
/// report of an evaluation) differs from none.
std::vector<std::string> differing_settings(std::span<const RunResults> runs);

/// The values of `setting`, one for each run; empty where a run does not say. Lists as "2, 0.5"; folders by
/// the parts that tell them apart (run_names.h); a plan of phases as its file, else as the start of its
/// SHA-256; never as JSON. Different values have different texts.
std::vector<std::string> setting_texts(std::span<const RunResults> runs, const std::string& setting);

}  // namespace gca::report
