#pragma once
// Compares results with golden values and keeps the worst error of every quantity.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace gca::golden {

/// One comparison: the largest absolute difference divided by the largest golden entry (1 when that is 0;
/// absolute for losses). NaN anywhere gives an infinite error.
double relative_error(const at::Tensor& value, const at::Tensor& golden, bool absolute);

struct Quantity {
  std::string name;        ///< as in the golden file, e.g. "grad/upper.0.gca.wq"
  double error = 0;        ///< of the fast version
  double plain_error = 0;  ///< of the plain version in the same type; bf16 bounds are derived from it
  double bound = 0;
  bool passed() const { return error <= bound; }  // false for NaN
};

/// Values that a run produced, by golden name.
using NamedTensors = std::map<std::string, at::Tensor>;

}  // namespace gca::golden
