#pragma once
// Every number of the runs as one long table, for other programs.

#include <span>
#include <string>

#include "lib/report/run_groups.h"

namespace gca::report {

/// RFC 4180, a row a number: run, settings, seed, quantity (train_loss, valid_loss, perplexity, context_loss,
/// bits_per_byte, position_loss, accuracy), task, retriever, context, from, to, depth, step, tokens, trials,
/// value. What does not apply is empty.
std::string report_csv(std::span<const RunGroup> groups);

}  // namespace gca::report
