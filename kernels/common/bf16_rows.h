#pragma once
// Rows of floats rounded to bf16.

#include "kernels/common/bf16_vector.h"

namespace gca::kernels {
namespace {

inline void round_rows(int64_t rows, int64_t columns, const float* from, int64_t from_stride, uint16_t* to,
                       int64_t to_stride) {
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    int64_t e = 0;
    for (; e + 2 * kLanes <= columns; e += 2 * kLanes) {
      RoundedRows(load(from + e), load(from + e + kLanes)).store_both(to + e);
    }
    for (; e < columns; ++e) to[e] = rounded_bf16(from[e]);
  }
}

}  // namespace
}  // namespace gca::kernels
