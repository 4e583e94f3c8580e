#pragma once
// The versions of landmark attention behind the operator, one signature. Arguments have been checked.

#include "kernels/landmark_attention/landmark_attention.h"

namespace gca::kernels {

using LandmarkForwardResult = std::tuple<at::Tensor, at::Tensor>;          // out, lse
using LandmarkGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;  // dq, dk, dv

/// float32, bfloat16 and double; any strides.
LandmarkForwardResult landmark_forward_reference(const at::Tensor& q, const at::Tensor& k,
                                                 const at::Tensor& v, int64_t block_size, double scale);
LandmarkGradients landmark_backward_reference(const at::Tensor& dout, const at::Tensor& q,
                                              const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                                              const at::Tensor& lse, int64_t block_size, double scale);

/// float32 and bfloat16; any strides.
LandmarkForwardResult landmark_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                           int64_t block_size, double scale);
LandmarkGradients landmark_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                        int64_t block_size, double scale);

}  // namespace gca::kernels
