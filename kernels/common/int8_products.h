#pragma once
// Products of whole numbers, 64 vectors at a time, once an instruction set (int8_products.cpp, compiled
// several times); int8_products() chooses. A quarter of the bytes of float32, and exact.

#include <cstdint>
#include <span>

namespace gca::kernels {

inline constexpr int64_t kInt8Run = 64;   ///< vectors of a call
inline constexpr int64_t kInt8Group = 4;  ///< elements that one instruction multiplies and adds

struct Int8Products {
  const char* name;  ///< "baseline", "avx2" or "avx512bf16"

  /// products[i] = sum over g < groups, j < 4 of x[g][i][j] y[g][j] for i < 64. Bit i of the result says
  /// whether that is above `limit`.
  uint64_t (*multiply)(int64_t groups, const uint8_t* x, const int8_t* y, int32_t limit, int32_t* products);
};

/// The best version that this processor runs.
const Int8Products& int8_products();

/// All versions that this processor runs, the best last. For tests.
std::span<const Int8Products* const> runnable_int8_products();

}  // namespace gca::kernels
