#pragma once
// A model for devices.

#include "tests/support/tiny_model.h"

namespace gca::testing {

/// As tests/support/tiny_model.h, with sizes that the CUDA kernels take.
inline model::ModelConfig device_config() {
  model::ModelConfig config = tiny_config();
  config.vocab_size = 80;
  config.d_model = 128;
  config.d_ff = 96;
  config.chunk_size = 9;
  config.init_std = 0.08;
  return config;
}

}  // namespace gca::testing
