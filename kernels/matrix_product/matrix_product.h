#pragma once
// Products of matrices in the compute type.

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

namespace gca::kernels {

/// a (M, K_t) and b (K_t, N), of one type.
struct MatrixPair {
  at::Tensor a, b;
};

/// The sum of a_t b_t over all pairs, rounded once, in `out_dtype`: (M, N). Rows or columns of each matrix
/// lie side by side (transposed views are welcome; others are copied).
///   float32, float64   the library's product
///   bfloat16           sums in float32: own blocked product (blocked_product.h) where the processor
///                      multiplies bf16; elsewhere operands are widened, exactly, and multiplied in float32,
///                      which is many times faster than emulation; on a GPU the library's product, which does
///                      the same
at::Tensor sum_of_matrix_products(std::span<const MatrixPair> pairs, at::ScalarType out_dtype);

/// a b, as above.
at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b, at::ScalarType out_dtype);

/// a_s b for several a_s and one b, which is packed once.
std::vector<at::Tensor> matrix_products(std::span<const at::Tensor> a, const at::Tensor& b,
                                        at::ScalarType out_dtype);

/// c += a b for a float32 c (M, N) with dense rows; float64 where a and b are.
void add_matrix_product(at::Tensor& c, const at::Tensor& a, const at::Tensor& b);

}  // namespace gca::kernels
