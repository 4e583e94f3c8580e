#pragma once
// What codes for far keys add to a model's configuration.

#include <cstdint>

namespace gca::model {

/// Plain data, part of ModelConfig. Member comments give the symbol and the key in config.json.
struct LongvqConfig {
  int64_t codebook_size = 256;  ///< N, codes of a head   codebook_size
};

}  // namespace gca::model
