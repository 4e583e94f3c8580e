#pragma once
// What the command line of gca convert says.

#include <cstdint>
#include <string>

#include "apps/gca/options/common_options.h"

namespace gca::app {

struct ConvertOptions {
  CommonOptions common;
  std::string input;
  std::string output;
  double recur_fraction = 0;
  std::string calibrate;       // folder written by gca tokenize
  int64_t context = 0;         // tokens of a text; 0: the context that the model was trained with
  int64_t max_tokens = 65536;  // of all texts
};

}  // namespace gca::app
