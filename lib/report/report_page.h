#pragma once
// Runs side by side on one page for a browser: no script, no network, no other file.

#include <span>
#include <string>

#include "lib/report/run_groups.h"

namespace gca {

/// A line a group: runs, parameters, tokens, last validation loss with its range, for a terminal.
std::string report_table(std::span<const RunGroup> groups);

/// The page: a table, then charts of what there is: losses by tokens, perplexity by context, loss by
/// position, accuracy by context, and for each group a heat map of accuracy by context and depth.
std::string report_page(std::span<const RunGroup> groups);

}  // namespace gca
