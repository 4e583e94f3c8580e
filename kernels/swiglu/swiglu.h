#pragma once
// The gate of a SwiGLU layer (Shazeer, arXiv 2002.05202):   y = silu(gate) * up,   silu(x) = x / (1 + exp(-x))

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// gate, up and y (.., d_ff) of one type; differentiable in both. Keeps gate and up only.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace gca::kernels
