#pragma once
// Attention whose far keys are codes, without positions. Position i sees the keys of its window, i - W <= j <= i,
// exactly, and each key j < i - W as its nearest code C_z (codebook.h), in one softmax:
//
//   o_i = ( sum_window e^(q.k_j s) v_j + sum_codes e^(q.C_c s) u_c ) / ( sum_window e^.. + sum_codes e^.. n_c )
//
// n_c and u_c are the number, and the sum of the values, of the far keys of code c: a code is one more key,
// with score q.C_c s + log n_c and value u_c / n_c.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace gca::model {

/// A whole text with gradients: q, k, v (B, L, H, dh) of one type, codes (H, N, dh) in the masters' type and z (B,
/// L, H) those of the keys -> (B, L, H, dh). The codes are constant. With `straight_through` the gradient of a far
/// score goes to the key that was coded, which is the cost of full attention; else nowhere, and the cost grows
/// with L.
at::Tensor vq_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& codes, const at::Tensor& z, int64_t window, double scale,
                        bool straight_through);

/// What is known of the keys that have left the window; of constant size.
struct FarKeys {
  at::Tensor count;  ///< n (B, H, N), masters' type; undefined before the first key
  at::Tensor sum;    ///< u (B, H, N, dh)

  int64_t size_bytes() const;
  /// Adds keys of codes z (B, m, H) with the values v (B, m, H, dh), of N codes a head.
  void add(const at::Tensor& z, const at::Tensor& v, int64_t code_count);
};

/// The last n of P + n positions, after `position` others, without gradients: q (B, n, H, dh); k, v (B, P + n,
/// H, dh) with P = min(position, W); codes (H, N, dh), masters' type. `far` holds all keys before the window of
/// the first, and is moved on to the position after the last.
at::Tensor read_codes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& codes,
                      int64_t position, int64_t window, double scale, FarKeys& far);

}  // namespace gca::model
