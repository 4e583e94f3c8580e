#include "tests/ptx_machine/matrix_descriptor.h"

namespace ptx {

std::optional<MatrixDescriptor> MatrixDescriptor::decode(uint64_t bits) {
  constexpr uint64_t kMeaningful =
      0x3FFF | uint64_t{0x3FFF} << 16 | uint64_t{0x3FFF} << 32 | uint64_t{7} << 49 | uint64_t{3} << 62;
  if ((bits & ~kMeaningful) != 0) return std::nullopt;
  const auto field = [bits](int shift) { return static_cast<uint32_t>(bits >> shift & 0x3FFF) * 16; };
  constexpr uint32_t kSwizzles[] = {0, 128, 64, 32};
  MatrixDescriptor result;
  result.start = field(0);
  result.leading = field(16);
  result.stride = field(32);
  result.base_offset = static_cast<uint32_t>(bits >> 49 & 7);
  result.swizzle_bytes = kSwizzles[bits >> 62];
  return result;
}

/// Unit `unit` of the line (of swizzle_bytes) that begins at `line` beyond the start. The hardware permutes
/// units by bits of their address: those from 4 on are changed by those from 7 on, counted from where the
/// pattern begins.
std::optional<uint32_t> MatrixDescriptor::in_line(uint32_t line, uint32_t unit) const {
  const uint32_t units = swizzle_bytes / 16;
  if (start / 16 % units + unit >= units)
    return std::nullopt;  // the start may lie within a line, for a step along it
  const uint32_t address = start + line + unit * 16;
  return address ^ ((((address >> 7) - base_offset) & (units - 1)) << 4);
}

std::optional<uint32_t> MatrixDescriptor::k_major(uint32_t row, uint32_t octet) const {
  const uint32_t group = row / 8 * stride;
  if (swizzle_bytes == 0) return start + group + row % 8 * 16 + octet * leading;
  return in_line(group + row % 8 * swizzle_bytes, octet);
}

std::optional<uint32_t> MatrixDescriptor::mn_major(uint32_t octet, uint32_t k) const {
  if (swizzle_bytes == 0) return start + octet * stride + k / 8 * leading + k % 8 * 16;
  const uint32_t units = swizzle_bytes / 16;
  return in_line(octet / units * leading + k / 8 * stride + k % 8 * swizzle_bytes, octet % units);
}

}  // namespace ptx
