#pragma once
// y = x W^T for the few rows of a decoding step:
//
//   y_io = <x_i, W_o>
//
// Bound by reading W once: each row of W is read once for all rows of x, by one thread. A general product
// packs W first, which costs as much again.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// Most rows for which this is the faster way.
inline constexpr int64_t kFewRows = 4;

/// True when linear_few_rows() takes these: on the CPU, float32 or bfloat16, at most kFewRows rows, dense.
bool takes_few_rows(const at::Tensor& x, const at::Tensor& weight);

/// x (.., in), weight (out, in) of one type; returns (.., out) of that type, sums in float32. Not
/// differentiable. The same bits for any number of threads.
at::Tensor linear_few_rows(const at::Tensor& x, const at::Tensor& weight);

}  // namespace gca::kernels
