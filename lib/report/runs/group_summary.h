#pragma once
// The numbers that stand in a group's row: as the training ended, and as it was evaluated.

#include "lib/report/runs/comparison.h"

namespace gca::report {

/// Evaluation of one retriever at one context, over the runs of a group.
struct ContextSummary {
  std::string data;
  std::string retriever;
  int64_t context = 0;
  Spread loss, bits_per_byte;
};

struct GroupSummary {
  std::string seeds;  ///< "1, 2, 3"
  int64_t parameters = 0;
  int64_t steps = 0;          ///< most of its runs
  int64_t planned_steps = 0;  ///< 0: unknown
  int64_t tokens = 0;
  bool has_ended = true;         ///< all of its runs
  Spread seconds;                ///< of training
  Spread tokens_per_second;      ///< in training
  Spread loss, bits_per_byte;    ///< of the last validation
  Spread of_reading, of_choice;  ///< gains of the last validation that measured them, nats per token
  Spread score_spread;
  std::vector<ContextSummary> contexts;  ///< by data, retriever and context
};

GroupSummary summarise(const RunGroup& group);

/// Tokens per second over the whole training; of a run that has not ended, over what it has done.
double training_speed(const RunResults& run);
double training_seconds(const RunResults& run);

}  // namespace gca::report
