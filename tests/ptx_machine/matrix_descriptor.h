#pragma once
// A matrix in shared memory as wgmma's 64-bit descriptor gives it (PTX ISA, "Matrix Descriptor Format" and
// "Canonical Layouts"): in units of 16 bytes, which hold 8 elements of bfloat16 along the major dimension.
//
//   bits  0-13  start address / 16       bits 49-51  base offset
//   bits 16-29  leading offset / 16      bits 62-63  swizzle: 0 none, 1 of 128 bytes, 2 of 64, 3 of 32
//   bits 32-45  stride offset / 16

#include <cstdint>
#include <optional>

namespace ptx {

struct MatrixDescriptor {
  uint32_t start = 0, leading = 0, stride = 0;  // bytes
  uint32_t base_offset = 0;
  uint32_t swizzle_bytes = 0;  // 0 for none

  /// Nothing where bits are set that have no meaning.
  static std::optional<MatrixDescriptor> decode(uint64_t bits);

  /// K-major: address of elements k = 8 `octet` ... of row (or column) `row`. Nothing where the unit would
  /// lie past the end of its line of the swizzle.
  std::optional<uint32_t> k_major(uint32_t row, uint32_t octet) const;
  /// MN-major: address of rows (or columns) 8 `octet` ... at `k`.
  std::optional<uint32_t> mn_major(uint32_t octet, uint32_t k) const;

 private:
  std::optional<uint32_t> in_line(uint32_t line, uint32_t unit) const;
};

}  // namespace ptx
