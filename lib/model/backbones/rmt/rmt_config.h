#pragma once
// What recurrent memory adds to a model's configuration.

#include <cstdint>

namespace gca::model {

/// Plain data, part of ModelConfig. Member comments give the symbol and the key in config.json.
struct RmtConfig {
  int64_t memory_size = 8;     ///< M   memory_size
  int64_t segment_size = 512;  ///< n   segment_size
};

}  // namespace gca::model
