#include "lib/core/checksums/checksum.h"

#include <doctest/doctest.h>

#include <set>
#include <vector>

using namespace gca;

namespace {

std::string counted(size_t size_bytes) {
  std::string text(size_bytes, '\0');
  for (size_t i = 0; i < size_bytes; ++i) text[i] = static_cast<char>(i * 31 + i / 7);
  return text;
}

std::string text_of(std::string_view bytes, ChecksumKind kind = ChecksumKind::xxh3) {
  Checksum checksum(kind);
  checksum.update(bytes);
  return checksum.text();
}

constexpr ChecksumKind kKinds[] = {ChecksumKind::xxh3, ChecksumKind::v1};

}  // namespace

TEST_CASE("checksums are those that other programs and earlier versions make") {
  CHECK(text_of("") == "xxh3:2d06800538d394c2");  // XXH3_64bits of nothing, as its authors publish it
  // Of the first version: made by a script from its formula.
  std::string hundred(100, '\0');
  for (size_t i = 0; i < hundred.size(); ++i) hundred[i] = static_cast<char>(i);
  CHECK(text_of("", ChecksumKind::v1) == "472d20561e7f736b");
  CHECK(text_of("abc", ChecksumKind::v1) == "6e559795a06a8340");
  CHECK(text_of(hundred, ChecksumKind::v1) == "d570aeea9a653f1a");
}

TEST_CASE("a checksum in text tells its kind") {
  for (const ChecksumKind kind : kKinds) CHECK(checksum_kind_of(text_of("abc", kind)) == kind);
}

TEST_CASE("a checksum does not depend on how the bytes are fed") {
  const std::string text = counted(700);
  for (const ChecksumKind kind : kKinds)
    for (size_t first = 0; first <= text.size(); first += 7) {
      Checksum checksum(kind);
      checksum.update(text.substr(0, first));
      CHECK(checksum.text() == text_of(text.substr(0, first), kind));  // and more may follow
      for (const char c : text.substr(first)) checksum.update(&c, 1);
      REQUIRE(checksum.text() == text_of(text, kind));
    }
}

TEST_CASE("every flipped bit, every cut and every added zero changes a checksum") {
  for (const ChecksumKind kind : kKinds) {
    std::set<std::string> seen;
    size_t made = 0;
    for (const size_t size : {1, 7, 8, 31, 32, 33, 100, 300}) {
      const std::string text = counted(size);
      seen.insert(text_of(text, kind)), ++made;
      seen.insert(text_of(text + '\0', kind)), ++made;
      seen.insert(text_of(text.substr(1), kind)), ++made;
      for (size_t byte = 0; byte < size; ++byte)
        for (int bit = 0; bit < 8; ++bit) {
          std::string flipped = text;
          flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << bit));
          seen.insert(text_of(flipped, kind)), ++made;
        }
    }
    CHECK(seen.size() == made);
  }
}
