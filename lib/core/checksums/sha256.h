#pragma once
// SHA-256 (FIPS 180-4), fed in pieces: fingerprints of tokenizers, texts and shards.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace gca {

class Sha256 {
 public:
  void update(const void* data, size_t size_bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }
  /// The digest of everything so far, 64 lower-case hex digits; more may follow.
  std::string hex_digest() const;

 private:
  void compress(const uint8_t* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> block_ = {};  ///< the bytes that do not fill a block yet
  uint64_t total_bytes_ = 0;
};

/// Digest of one string, 64 lower-case hex digits.
std::string sha256_hex(std::string_view text);

}  // namespace gca
