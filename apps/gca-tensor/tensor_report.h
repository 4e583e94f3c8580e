#pragma once
// Reports of the stages that compute with tensors.

#include <string>

#include "apps/gca/options/common_options.h"
#include "lib/core/json/json_report.h"

namespace gca::app {

/// begin_report(), with the instruction set that CPU kernels use.
JsonReport begin_tensor_report(const std::string& stage, const CommonOptions& options,
                               const TensorOptions& tensors);

}  // namespace gca::app
