#include "lib/model/backbones/gca/weight_rounding.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/where.h>

namespace gca::model {

at::Tensor round_weights(const at::Tensor& weights, const at::Tensor& uniform, double threshold) {
  const at::Tensor w = weights.detach();
  const at::Tensor drawn = uniform.lt(w / threshold).to(w.scalar_type()) * threshold;
  const at::Tensor rounded = at::where(w.ge(threshold), w, drawn);
  // Exactly `rounded` in value: w + (rounded - w) would leave rounding errors where nothing is read.
  return rounded + (weights - w);
}

}  // namespace gca::model
