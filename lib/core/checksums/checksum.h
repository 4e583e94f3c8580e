#pragma once
// A fast 64-bit checksum against damage on disks and wires, not against intent: XXH3 (libxxhash).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace gca {

/// Files name the kind that their checksums are of; where they name none, it is v1.
enum class ChecksumKind {
  v1,   ///< of gca 0.1.0 (checksum_v1.h): only read
  xxh3  ///< XXH3_64bits
};

/// The kind of a checksum in text: "xxh3:" and 16 hexadecimal digits, or of v1 the digits alone.
ChecksumKind checksum_kind_of(std::string_view text);

/// Fed in pieces of any size; the pieces do not matter, the bytes do.
class Checksum {
 public:
  explicit Checksum(ChecksumKind kind = ChecksumKind::xxh3);
  ~Checksum();
  Checksum(Checksum&&) noexcept;
  Checksum& operator=(Checksum&&) noexcept;

  void update(const void* data, size_t size_bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }
  /// Of everything so far; more may follow.
  uint64_t value() const;
  /// value() as text, with its kind.
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gca
