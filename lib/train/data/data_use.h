#pragma once
// How often a run has been through its data.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace gca::train {

struct DataUse {
  std::string folder;
  double share = 1.0;     ///< of the text tokens that are read, from 0 to 1
  int64_t sequences = 0;  ///< in one pass
  int64_t tokens = 0;     ///< in one pass
  double passes = 0.0;
};

nlohmann::ordered_json data_uses_to_json(std::span<const DataUse> uses);

/// "data books: 120 sequences, 30000 tokens; 4.98 passes are planned", a line each, with the share where there are
/// several.
std::string planned_use_text(std::span<const DataUse> uses);

}  // namespace gca::train
