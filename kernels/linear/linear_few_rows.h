#pragma once
// y = x W^T for the few rows of a decoding step:
//
//   y_io = <x_i, W_o>
//
// Bound by reading W once: each row of W is read once for all rows of x, by one thread. A general product
// packs W first, which costs as much again.

#include <ATen/core/Tensor.h>

#include "kernels/linear/int8_weight.h"

namespace gca::kernels {

/// Most rows for which this is the faster way.
inline constexpr int64_t kFewRows = 4;

/// True when linear_few_rows() takes these: on the CPU, float32 or bfloat16, at most kFewRows rows, dense.
bool takes_few_rows(const at::Tensor& x, const at::Tensor& weight);
/// The same for a weight of whole numbers, whatever the type of x.
bool takes_few_rows(const at::Tensor& x, const Int8Weight& weight);

/// x (.., in), weight (out, in) of one type; returns (.., out), sums in float32, in x's type or float32. Not
/// differentiable. The same bits for any number of threads.
at::Tensor linear_few_rows(const at::Tensor& x, const at::Tensor& weight, at::ScalarType out_dtype);
at::Tensor linear_few_rows(const at::Tensor& x, const Int8Weight& weight, at::ScalarType out_dtype);

/// y (rows of W) = W x for `rows` rows of W (.., in) that lie side by side: one thread's part of the above.
/// Elements of x and W are float, or bf16 as at::BFloat16.
void multiply_rows(int64_t rows, int64_t in, const float* x, const float* weight, float* y);
void multiply_rows(int64_t rows, int64_t in, const at::BFloat16* x, const at::BFloat16* weight, float* y);
void multiply_rows(int64_t rows, int64_t in, const float* x, const Int8Rows& weight, float* y);
void multiply_rows(int64_t rows, int64_t in, const at::BFloat16* x, const Int8Rows& weight, float* y);

}  // namespace gca::kernels
