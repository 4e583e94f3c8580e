#pragma once
// A tiny model that chooses by vectors of its data.

#include "tests/support/tiny_model.h"

namespace gca::testing {

inline model::ModelConfig frozen_config() {
  model::ModelConfig config = tiny_config();
  config.retriever = "frozen";
  return config;
}

}  // namespace gca::testing
