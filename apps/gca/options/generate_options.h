#pragma once
// What the command line of gca generate says.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"
#include "apps/gca/options/kv_policy_options.h"
#include "apps/gca/options/text_arguments.h"
#include "lib/generate/generation_options.h"

namespace gca::app {

struct GenerateOptions {
  CommonOptions common;
  CheckpointOptions checkpoint;
  PromptOptions prompt;
  std::string prompts;  // file of several; empty: one prompt
  int64_t samples = 1;
  generate::GenerationOptions generation;
  std::string memory = "ram";
  std::string memory_dtype;
  std::string save_memory;
  std::string load_memory;
  KvPolicyOptions kv;
  bool profile = false;

  bool has_several_answers() const { return !prompts.empty() || samples != 1; }
};

}  // namespace gca::app
