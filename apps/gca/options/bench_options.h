#pragma once
// What the command line of gca bench says.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"

namespace gca::app {

struct BenchOptions {
  CommonOptions common;
  TensorOptions tensor;
  std::string config = "small";
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

  bool chooses_memory() const { return memory != "ram" || !memory_dtype.empty(); }
};

/// What can be measured.
inline const std::vector<std::string>& mode_names() {
  static const std::vector<std::string> names = {"training", "prefill", "scoring", "decoding"};
  return names;
}

}  // namespace gca::app
