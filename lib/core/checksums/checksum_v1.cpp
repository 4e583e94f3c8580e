#include "lib/core/checksums/checksum_v1.h"

#include <algorithm>
#include <cstring>

namespace gca {
namespace {

// Odd, so that multiplying by it can be undone: two states that differ stay different.
constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;

/// One to one in `state` and in `word`. A single multiplication would leave a flipped top bit a single
/// flipped bit, which another one in the next word could undo.
uint64_t mixed(uint64_t state, uint64_t word) {
  uint64_t product = (state ^ word) * kMultiplier;
  product ^= product >> 29;
  return product * kMultiplier;
}

}  // namespace

void ChecksumV1::absorb(const std::byte* block) {
  std::array<uint64_t, 4> words;
  std::memcpy(words.data(), block, kBlockBytes);
  for (size_t i = 0; i < words.size(); ++i) lanes_[i] = mixed(lanes_[i], words[i]);
}

void ChecksumV1::update(const void* data, size_t size_bytes) {
  const auto* bytes = static_cast<const std::byte*>(data);
  while (size_bytes > 0) {
    const size_t used = total_bytes_ % kBlockBytes;
    if (used == 0 && size_bytes >= kBlockBytes) {
      absorb(bytes);
      bytes += kBlockBytes, size_bytes -= kBlockBytes, total_bytes_ += kBlockBytes;
      continue;
    }
    const size_t taken = std::min(size_bytes, kBlockBytes - used);
    std::memcpy(open_.data() + used, bytes, taken);
    bytes += taken, size_bytes -= taken, total_bytes_ += taken;
    if (used + taken == kBlockBytes) absorb(open_.data());
  }
}

uint64_t ChecksumV1::value() const {
  ChecksumV1 end = *this;
  const size_t used = total_bytes_ % kBlockBytes;
  std::fill(end.open_.begin() + static_cast<int64_t>(used), end.open_.end(), std::byte{0});
  if (used > 0) end.absorb(end.open_.data());
  uint64_t value = total_bytes_;
  for (const uint64_t lane : end.lanes_) value = mixed(value, lane);
  value ^= value >> 32;
  return value * kMultiplier;
}

}  // namespace gca
