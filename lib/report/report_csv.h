#pragma once
// Every number of the runs as one long table, for other programs.

#include <span>
#include <string>

#include "lib/report/runs/comparison.h"

namespace gca::report {

/// RFC 4180, a row a number: run (its name), path, settings (those that differ), seed, quantity, task, data,
/// retriever, context, from, to, depth, step, tokens, seconds, trials, value. What does not apply is empty.
/// Quantities: train_loss, train_spread, train_entropy, train_mean_distance, train_tokens_per_second;
/// valid_loss, valid_bits_per_byte, valid_accuracy, reading_loss (by retriever), reading_spread;
/// context_loss, perplexity, bits_per_byte, position_loss; accuracy; the speeds of gca bench,
/// benchmark_tokens_per_second, with their mode as the task.
std::string report_csv(const Comparison& comparison);

}  // namespace gca::report
