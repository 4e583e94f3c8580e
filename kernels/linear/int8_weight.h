#pragma once
// A weight as whole numbers of steps, a step a row: for products that are bound by reading it.
//
//   W_oi = scale_o q_oi,   scale_o the smallest power of two that is at least max_i |w_oi| / 127
//
// so |W_oi - w_oi| <= scale_o / 2 < max_i |w_oi| / 127. A power of two costs up to one bit against
// max |w| / 127 itself; in return W is a bf16 number without any rounding: products that read whole numbers
// and products that read bf16 multiply by the same W.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace gca::kernels {

/// Rows that lie side by side.
struct Int8Rows {
  const int8_t* q;     ///< (rows, in)
  const float* scale;  ///< (rows)
};

struct Int8Weight {
  at::Tensor q;      ///< (out, in) int8, -127 to 127
  at::Tensor scale;  ///< (out) float32; NaN where a row of w is not finite

  bool defined() const { return q.defined(); }
  /// From row `first` on.
  Int8Rows rows_from(int64_t first) const;
};

/// Of zeros.
Int8Weight make_int8_weight(int64_t out, int64_t in);

/// Overwrites `to` with what w (out, in), float32, is nearest to.
void quantise_weight(const at::Tensor& w, const Int8Weight& to);

/// W (out, in) in float32 or bf16, exactly.
at::Tensor restore_weight(const Int8Weight& weight, at::ScalarType dtype);

}  // namespace gca::kernels
