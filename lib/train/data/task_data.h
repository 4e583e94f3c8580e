#pragma once
// What a run reads: the batches it trains on, the sequences it is looked at with, and the tokenizer they
// belong to.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/train/data/batch_source.h"
#include "lib/train/settings/run_config.h"

namespace gca::train {

struct TaskRequest {
  std::string task;  ///< one of training_task_names() (lib/tasks/task_kinds.h); ignored with phases
  /// Words of --data (weighted_data.h): folders of sequences or of token shards; may be empty for a task that reads no
  /// data.
  std::vector<std::string> data;
  std::string valid;  ///< folder to validate on; empty: the valid splits of `data`
  uint64_t seed = 0;
  nlohmann::json phases;  ///< as training_phases.h says; null for one task all along
};

struct TaskData {
  BatchSource train;
  ValidationSource validation;  ///< of the one task; with phases that of the last
  ValidationPlan validation_plan;
  std::shared_ptr<TrainingPhases> phases;  ///< null for one task all along
  std::string tokenizer_file;              ///< content of the tokenizer's file; empty for none
  std::string tokenizer_fingerprint;       ///< empty for none
  int32_t end_token = -1;                  ///< ends each document of the data; -1: none does
  double chance = 0.0;                     ///< accuracy of guessing; 0 where the task does not know it
};

/// Opens the data and completes `config` with what it decides: vocabulary, landmark, length of a sequence.
/// Throws Error(usage) where data and configuration do not agree.
TaskData open_task_data(const TaskRequest& request, RunConfig& config);

}  // namespace gca::train
