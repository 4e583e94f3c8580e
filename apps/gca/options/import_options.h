#pragma once
// What the command lines of gca import and gca export say.

#include <string>

#include "apps/gca/options/common_options.h"

namespace gca::app {

struct ImportOptions {
  CommonOptions common;
  std::string input;
  std::string output;
};

struct ExportOptions {
  CommonOptions common;
  std::string input;
  std::string output;
  std::string dtype = "fp32";  // of the weights that are written
};

}  // namespace gca::app
