#pragma once
// What landmark attention adds to a model's configuration, beside chunk_top_k and rope_theta, which it shares
// with gca.

#include <cstdint>
#include <string>

namespace gca::model {

/// Plain data, part of ModelConfig. Member comments give the symbol and the key in config.json.
struct LandmarkConfig {
  int64_t landmark_local_size = 256;         ///< P, a multiple of S               landmark_local_size
  std::string landmark_selection = "head";   ///< head, or all_heads: one for all  landmark_selection
  std::string landmark_positions = "slots";  ///< slots (rotary), or none          landmark_positions
};

}  // namespace gca::model
