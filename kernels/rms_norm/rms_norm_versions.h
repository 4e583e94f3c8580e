#pragma once
// The versions of the norm behind the operators. Arguments have been checked; tensors are contiguous.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

struct NormForward {
  at::Tensor x;            ///< residual + update; the residual where there is no update
  at::Tensor y;            ///< in the output type
  at::Tensor inverse_rms;  ///< (rows), type of x
};

struct NormGradients {
  at::Tensor dx;       ///< type of x
  at::Tensor dupdate;  ///< dx in the update's type; undefined when not wanted
  at::Tensor dweight;
};

/// `update` may be undefined.
NormForward rms_norm_forward_reference(const at::Tensor& residual, const at::Tensor& update,
                                       const at::Tensor& weight, double eps, at::ScalarType out_dtype);
/// With n = x * inverse_rms and g = dy * weight:
///   dx = inverse_rms * ( g - n * mean(g * n) ) + dsum        dweight = sum over rows of dy * n
/// `dsum`, the gradient that reaches x itself, may be undefined; so may `update_dtype` (no dupdate then).
NormGradients rms_norm_backward_reference(const at::Tensor& dsum, const at::Tensor& dy, const at::Tensor& x,
                                          const at::Tensor& weight, const at::Tensor& inverse_rms,
                                          std::optional<at::ScalarType> update_dtype);

/// x float32; y, dy and update float32 or bf16. dweight is summed over fixed blocks of rows in a fixed order.
NormForward rms_norm_forward_cpu(const at::Tensor& residual, const at::Tensor& update,
                                 const at::Tensor& weight, double eps, at::ScalarType out_dtype);
NormGradients rms_norm_backward_cpu(const at::Tensor& dsum, const at::Tensor& dy, const at::Tensor& x,
                                    const at::Tensor& weight, const at::Tensor& inverse_rms,
                                    std::optional<at::ScalarType> update_dtype);

}  // namespace gca::kernels
