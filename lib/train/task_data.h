#pragma once
// What a run reads: the batches it trains on, the sequences it is looked at with, and the tokenizer they
// belong to.

#include <string>
#include <vector>

#include "lib/train/batch_source.h"
#include "lib/train/run_config.h"

namespace gca {

struct TaskRequest {
  std::string task;   ///< one of task_names() (task_names.h)
  std::string data;   ///< folder of sequences or of token shards; self-copy: only its tokenizer, may be empty
  std::string valid;  ///< folder to validate on; empty: the valid split of `data`
  uint64_t seed = 0;
};

struct TaskData {
  BatchSource train;
  ValidationSource validation;
  std::string tokenizer_model;        ///< text of tokenizer.model; empty for none
  std::string tokenizer_fingerprint;  ///< empty for none
  double chance = 0.0;                ///< self-copy: accuracy of guessing
};

/// Opens the data and completes `config` with what it decides: vocabulary, landmark, length of a sequence.
/// Throws Error(usage) where data and configuration do not agree.
TaskData open_task_data(const TaskRequest& request, RunConfig& config);

}  // namespace gca
