#pragma once
// The output projection and its cross-entropy in one: loss_i = logsumexp_v(z_iv) - z_i,target, z = x W^T.
// Works through blocks of rows, so that the (rows, V) logits never exist as a whole. If gradients are wanted, both are
// computed block by block:
//   dz = (softmax(z) - onehot(target)) / count       dx = dz W       dW += dz^T x

#include <ATen/core/Tensor.h>

#include <tuple>

namespace gca::kernels {

/// x (N, d) and compute (V, d) of one type, master (V, d) float32 (or the tensor `compute`), targets (N)
/// int64, negative for none. Returns (mean (), per_target (N)): float32 (float64 for double); mean is over
/// the targets and differentiable in x and master; per_target is not, and 0 where there is none. Without any
/// target the mean is 0.
std::tuple<at::Tensor, at::Tensor> linear_cross_entropy(const at::Tensor& x, const at::Tensor& master,
                                                        const at::Tensor& compute, const at::Tensor& targets);

}  // namespace gca::kernels
