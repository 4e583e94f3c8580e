#pragma once
// The versions of sliding-window attention behind the operator, one signature. Arguments have been checked.

#include "kernels/sliding_window_attention/sliding_window_attention.h"

namespace gca::kernels {

using WindowForwardResult = std::tuple<at::Tensor, at::Tensor>;          // out, lse
using WindowGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;  // dq, dk, dv

/// float32, bfloat16 and double; any strides.
WindowForwardResult window_forward_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                             const at::Tensor& slopes, int64_t window, double scale);
WindowGradients window_backward_reference(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                          const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                          const at::Tensor& slopes, int64_t window, double scale);

/// float32 and bfloat16; any strides.
WindowForwardResult window_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                       const at::Tensor& slopes, int64_t window, double scale);
WindowGradients window_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                    const at::Tensor& slopes, int64_t window, double scale);

}  // namespace gca::kernels
