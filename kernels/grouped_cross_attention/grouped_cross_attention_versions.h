#pragma once
// The versions of grouped cross-attention behind the operator, one signature. Arguments have been checked.

#include "kernels/grouped_cross_attention/grouped_cross_attention.h"

namespace gca::kernels {

/// What both directions need beside the tensors.
struct GcaOptions {
  ReadingLayout layout;
  double scale = 1;
  bool softmax_one = false;
};

using GcaForwardResult = std::tuple<at::Tensor, at::Tensor>;                      // out, lse
using GcaGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;  // dq, dk, dv, dw

/// float32, bfloat16 and double; any strides.
GcaForwardResult gca_forward_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                       const at::Tensor& idx, const at::Tensor& w, const GcaOptions& options);
GcaGradients gca_backward_reference(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, const at::Tensor& idx, const at::Tensor& w,
                                    const at::Tensor& lse, const GcaOptions& options);

/// float32 and bfloat16; any strides.
GcaForwardResult gca_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& idx, const at::Tensor& w, const GcaOptions& options);
GcaGradients gca_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const at::Tensor& idx, const at::Tensor& w,
                              const at::Tensor& lse, const GcaOptions& options);

}  // namespace gca::kernels
