#pragma once
// What the command line of gca bench says.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"
#include "lib/model/kv_cache/kv_policy.h"

namespace gca::app {

struct BenchOptions {
  CommonOptions common;
  TensorOptions tensor;
  std::string config = "small";
  std::string checkpoint;  ///< instead of config and settings; empty: random weights
  std::vector<std::string> settings;
  std::vector<int64_t> contexts = {4096};
  std::vector<std::string> modes;
  int64_t batch = -1;
  int64_t repeats = 5;
  int64_t decoded_tokens = 126;
  bool peak = true;
  std::string instruction_set;  ///< empty: the best
  bool profile = false;
  std::string memory = "ram";
  std::string memory_dtype;
  // Cache policies of full attention, side by side; none: decoding by the model's own cache.
  std::vector<std::string> kv_policies;
  model::KvPolicy kv_settings;  ///< of all of them
  int64_t question_tokens = 64;

  bool chooses_memory() const { return memory != "ram" || !memory_dtype.empty(); }
};

/// What can be measured.
inline const std::vector<std::string>& mode_names() {
  static const std::vector<std::string> names = {"training", "prefill", "scoring", "decoding"};
  return names;
}

}  // namespace gca::app
