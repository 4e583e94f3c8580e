#include "lib/core/checksum.h"

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

uint64_t of(std::string_view text) {
  Checksum checksum;
  checksum.update(text);
  return checksum.value();
}

}  // namespace

TEST_CASE("a checksum does not depend on how the bytes are fed") {
  const std::string text = counted(200);
  for (size_t first = 0; first <= text.size(); ++first) {
    Checksum checksum;
    checksum.update(text.substr(0, first));
    CHECK(checksum.value() == of(text.substr(0, first)));  // and more may follow
    for (const char c : text.substr(first)) checksum.update(&c, 1);
    REQUIRE(checksum.value() == of(text));
  }
  CHECK(Checksum().hex().size() == 16);
}

TEST_CASE("every flipped bit, every cut and every added zero changes a checksum") {
  std::set<uint64_t> seen;
  size_t made = 0;
  for (const size_t size : {1, 7, 8, 31, 32, 33, 100}) {
    const std::string text = counted(size);
    seen.insert(of(text)), ++made;
    seen.insert(of(text + '\0')), ++made;
    seen.insert(of(text.substr(1))), ++made;
    for (size_t byte = 0; byte < size; ++byte)
      for (int bit = 0; bit < 8; ++bit) {
        std::string flipped = text;
        flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << bit));
        seen.insert(of(flipped)), ++made;
      }
  }
  CHECK(seen.size() == made);
}
