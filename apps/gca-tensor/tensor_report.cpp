#include "apps/gca-tensor/tensor_report.h"

#include "kernels/common/instruction_set.h"

namespace gca::app {

JsonReport begin_tensor_report(const std::string& stage, const CommonOptions& options,
                               const TensorOptions& tensors) {
  JsonReport report = begin_report(stage, options, tensors);
  report.instruction_set = kernels::instruction_set().name;
  return report;
}

}  // namespace gca::app
