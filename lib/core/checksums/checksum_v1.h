#pragma once
// The checksum in files of gca 0.1.0, whose readers compare it; new files carry XXH3 (checksum.h).

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gca {

/// Fed in pieces of any size; the pieces do not matter, the bytes do.
class ChecksumV1 {
 public:
  void update(const void* data, size_t size_bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }
  /// Of everything so far; more may follow.
  uint64_t value() const;

 private:
  // Four chains, so that a processor works at four multiplications at a time; a block gives each one word.
  static constexpr size_t kBlockBytes = 32;
  void absorb(const std::byte* block);

  std::array<uint64_t, 4> lanes_ = {1, 2, 3, 4};
  std::array<std::byte, kBlockBytes> open_ = {};
  uint64_t total_bytes_ = 0;
};

}  // namespace gca
