#pragma once
// In which type scores, statistics and sums are computed.

#include <ATen/core/Tensor.h>

namespace gca::model {

/// float32; double for double.
inline at::ScalarType wide_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace gca::model
