#pragma once
// What tensorized attention adds to a model's configuration.

#include <cstdint>
#include <vector>

namespace gca::model {

/// Plain data, part of ModelConfig. Member comments give the symbol and the key in config.json.
struct TensorizedConfig {
  std::vector<int64_t> tensor_fold = {128, 128};  ///< t_1, t_2, ..; the last may be 0: no end   tensor_fold
};

}  // namespace gca::model
