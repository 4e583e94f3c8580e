#pragma once
// What the command line of gca eval says.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"
#include "apps/gca/options/rank_options.h"
#include "apps/gca/options/text_arguments.h"
#include "lib/model/kv_cache/kv_policy.h"
#include "lib/tasks/task_kinds.h"

namespace gca::app {

struct EvalOptions {
  CommonOptions common;
  CheckpointOptions checkpoint;
  std::string data;
  std::vector<std::string> inputs;
  text::SourceOptions source;
  std::string task = tasks::kPerplexityTask;
  std::string split = "auto";
  std::vector<int64_t> contexts;
  std::vector<std::string> retrievers = {"learned"};
  int64_t max_tokens = 0;
  int64_t stride = 0;  // 0: the context
  std::string token_losses;
  int64_t segment_positions = 0;
  // The tasks that plant something.
  int64_t trials = 200;
  int64_t haystacks = 0;  // 0: chosen
  tasks::TaskSettings task_settings;
  bool full_prefill = false;
  // Cache policies of full attention, side by side; none: the plain way.
  std::vector<std::string> kv_policies;
  model::KvPolicy kv_settings;  ///< of all of them
  int64_t answer_tokens = 256;
  int64_t question_tokens = 64;
  std::string memory = "ram";
  std::string memory_dtype;

  int timeout_seconds = kSharingTimeoutSeconds;

  bool chooses_memory() const { return memory != "ram" || !memory_dtype.empty(); }
};

}  // namespace gca::app
