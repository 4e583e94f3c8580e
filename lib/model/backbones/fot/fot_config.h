#pragma once
// What memory layers of the Focused Transformer add to a model's configuration.

#include <cstdint>
#include <vector>

namespace gca::model {

/// Plain data, part of ModelConfig. Member comments give the symbol and the key in config.json.
struct FotConfig {
  std::vector<int64_t> memory_layers = {0};  ///< numbers of upper layers             memory_layers
  int64_t local_context_size = 256;          ///< n                                   local_context_size
  int64_t memory_top_k = 128;                ///< keys of a position and head; 0: all  memory_top_k
};

}  // namespace gca::model
