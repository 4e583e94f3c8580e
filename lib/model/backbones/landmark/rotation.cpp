#include "lib/model/backbones/landmark/rotation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>

#include "lib/model/layers/wide_type.h"

namespace gca::model {

at::Tensor rotated(const at::Tensor& x, const at::Tensor& positions, double theta) {
  const int64_t half = x.size(-1) / 2;
  const at::ScalarType wide = wide_type(x);
  const at::Tensor frequency = at::pow(theta, -at::arange(half, at::kDouble) / static_cast<double>(half));
  const at::Tensor angle = positions.to(at::kDouble).unsqueeze(-1) * frequency;
  const at::Tensor cosine = at::cos(angle).to(wide);
  const at::Tensor sine = at::sin(angle).to(wide);
  const at::Tensor a = x.narrow(-1, 0, half).to(wide);
  const at::Tensor b = x.narrow(-1, half, half).to(wide);
  return at::cat({a * cosine - b * sine, b * cosine + a * sine}, -1).to(x.scalar_type());
}

}  // namespace gca::model
