// The norm composed of library calls, any float type.

#include <ATen/TensorOperators.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sum.h>

#include "kernels/rms_norm/rms_norm_versions.h"

namespace gca::kernels {

NormForward rms_norm_forward_reference(const at::Tensor& residual, const at::Tensor& update,
                                       const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
  const at::Tensor x = update.defined() ? residual + update.to(residual.scalar_type()) : residual;
  const at::Tensor inverse_rms = at::rsqrt(at::mean(x * x, -1, true) + eps);
  return {x, (weight * (x * inverse_rms)).to(out_dtype), inverse_rms.reshape({-1})};
}

NormGradients rms_norm_backward_reference(const at::Tensor& dsum, const at::Tensor& dy, const at::Tensor& x,
                                          const at::Tensor& weight, const at::Tensor& inverse_rms,
                                          std::optional<at::ScalarType> update_dtype) {
  const int64_t d = weight.numel();
  const at::Tensor g = dy.to(x.scalar_type()).reshape({-1, d});
  const at::Tensor n = x.reshape({-1, d}) * inverse_rms.unsqueeze(-1);
  const at::Tensor gw = g * weight;
  at::Tensor dx = (inverse_rms.unsqueeze(-1) * (gw - n * at::mean(gw * n, -1, true))).reshape(x.sizes());
  if (dsum.defined()) dx = dx + dsum;
  return {dx, update_dtype ? dx.to(*update_dtype) : at::Tensor(), at::sum(g * n, 0)};
}

}  // namespace gca::kernels
