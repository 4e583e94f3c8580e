// GGUF files that the Python package gguf wrote (tests/golden/gguf/make_gguf.py), whole and damaged.

#include "lib/core/files/gguf_file.h"

#include <doctest/doctest.h>

#include <bit>
#include <functional>
#include <nlohmann/json.hpp>

#include "lib/core/files/atomic_file.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

using namespace gca;
using nlohmann::json;

namespace {

const std::string kFolder = GCA_SOURCE_DIR "/tests/golden/gguf/";

/// What opening a file with this content throws.
std::optional<CaughtError> error_of_content(const TemporaryFolder& folder, const std::string& content) {
  testing::write_file(folder / "test.gguf", content);
  return error_of([&] { GgufFile file(folder / "test.gguf"); });
}

template <class T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

std::string text_of(const std::string& text) {
  return bytes_of(uint64_t{text.size()}) + text;
}

std::string header_of(uint64_t tensors, uint64_t keys) {
  return "GGUF" + bytes_of(uint32_t{3}) + bytes_of(tensors) + bytes_of(keys);
}

std::string entry_of(const std::string& name, std::initializer_list<uint64_t> extents, uint32_t type,
                     uint64_t offset) {
  std::string entry = text_of(name) + bytes_of(static_cast<uint32_t>(extents.size()));
  for (const uint64_t extent : extents) entry += bytes_of(extent);
  return entry + bytes_of(type) + bytes_of(offset);
}

}  // namespace

TEST_CASE("metadata of every type") {
  const GgufFile file(kFolder + "tensors.gguf");
  CHECK(file.text("general.architecture") == "llama");
  CHECK(file.whole_number("test.u8") == 200);
  CHECK(file.whole_number("test.i8") == -100);
  CHECK(file.whole_number("test.u16") == 60000);
  CHECK(file.whole_number("test.i16") == -30000);
  CHECK(file.whole_number("test.u32") == 4000000000);
  CHECK(file.whole_number("test.i32") == -2000000000);
  CHECK(file.whole_number("test.i64") == -(int64_t{1} << 62));
  CHECK(std::get<uint64_t>(file.metadata().at("test.u64").value) == (uint64_t{1} << 63) + 1);
  CHECK(file.number("test.f32") == double{0.1F});
  CHECK(file.number("test.f64") == 0.1);
  CHECK(file.number("test.u8") == 200);
  CHECK(file.flag("test.bool"));
  CHECK(file.text("test.text") == "h\xC3\xA9llo");
  CHECK(file.texts("test.texts") == std::vector<std::string>{"a", "", "b c"});
  CHECK(file.whole_numbers("test.numbers") == std::vector<int64_t>{3, -1, 4});
  CHECK(!file.has("test.none"));
  for (const auto& ask : std::initializer_list<std::function<void()>>{
           [&] { file.text("test.none"); }, [&] { file.text("test.u8"); }, [&] { file.flag("test.u8"); },
           [&] { file.whole_number("test.f32"); }, [&] { file.whole_number("test.u64"); },
           [&] { file.texts("test.numbers"); }, [&] { file.whole_numbers("test.texts"); }}) {
    const auto error = error_of(ask);
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says("test."));
  }
}

TEST_CASE("tensors of every type are what the Python package decodes") {
  const GgufFile file(kFolder + "tensors.gguf");
  const json expected = json::parse(read_file(kFolder + "tensors.json"));
  REQUIRE(file.tensors().size() == expected.size());
  for (const auto& entry : expected.items()) {
    const std::string& name = entry.key();
    const json& digits = entry.value();
    CAPTURE(name);
    const GgufTensor& tensor = file.at(name);
    CHECK(tensor.shape == (name == "vector" ? std::vector<int64_t>{5} : std::vector<int64_t>{3, 64}));
    std::vector<float> values(static_cast<size_t>(tensor.row_count() * tensor.row_length()));
    decode_gguf_rows(tensor, 0, values);
    REQUIRE(values.size() == digits.size());
    for (size_t i = 0; i < values.size(); ++i)
      REQUIRE(std::bit_cast<uint32_t>(values[i]) == std::stoul(digits[i].get<std::string>(), nullptr, 16));
    if (name == "vector") continue;
    std::vector<float> row(64);
    decode_gguf_rows(tensor, 2, row);
    CHECK(std::equal(row.begin(), row.end(), values.begin() + 128));
  }
  CHECK(error_of([&] { file.at("none"); })->says("none"));
}

TEST_CASE("a truncated GGUF file is refused wherever it ends") {
  const TemporaryFolder folder;
  const std::string content = read_file(kFolder + "tensors.gguf");
  REQUIRE(!error_of_content(folder, content));
  // The file ends with up to 31 bytes of padding behind its last tensor.
  for (size_t size = 0; size + 32 <= content.size(); ++size) {
    const auto error = error_of_content(folder, content.substr(0, size));
    REQUIRE(error);
    REQUIRE(error->is_usage());
    REQUIRE(error->says("test.gguf"));
  }
}

TEST_CASE("a GGUF file that says what cannot be is refused, before anything is made room for") {
  const TemporaryFolder folder;
  const std::string padding(64, '\0');
  const uint64_t huge = UINT64_MAX;
  const struct {
    const char* said;
    std::string content;
  } cases[] = {
      {"not a GGUF file", "GGML" + padding},
      {"version 1", "GGUF" + bytes_of(uint32_t{1}) + padding},
      {"another byte order", "GGUF" + bytes_of(uint32_t{3} << 24) + padding},
      {"table of tensors", header_of(huge, 0)},
      {"metadata", header_of(0, huge)},
      {"metadata", header_of(0, 1) + bytes_of(huge) + padding},
      {"unknown type 77", header_of(0, 1) + text_of("key") + bytes_of(uint32_t{77}) + padding},
      {"ends within key",
       header_of(0, 1) + text_of("key") + bytes_of(uint32_t{9}) + bytes_of(uint32_t{8}) + bytes_of(huge)},
      {"twice", header_of(0, 2) + text_of("key") + bytes_of(uint32_t{0}) + "a" + text_of("key") +
                    bytes_of(uint32_t{0}) + "a"},
      {"neither true nor false", header_of(0, 1) + text_of("key") + bytes_of(uint32_t{7}) + "a"},
      {"general.alignment",
       header_of(0, 1) + text_of("general.alignment") + bytes_of(uint32_t{4}) + bytes_of(uint32_t{33})},
      {"stored as Q4_K", header_of(1, 0) + entry_of("x", {256}, 12, 0) + padding},
      {"unknown type 99", header_of(1, 0) + entry_of("x", {256}, 99, 0) + padding},
      {"0 dimensions", header_of(1, 0) + entry_of("x", {}, 0, 0) + padding},
      {"no whole blocks", header_of(1, 0) + entry_of("x", {33}, 2, 0) + padding},
      {"an extent of", header_of(1, 0) + entry_of("x", {huge}, 0, 0) + padding},
      {"an extent of", header_of(1, 0) + entry_of("x", {4, uint64_t{1} << 62, 8}, 0, 0) + padding},
      {"larger than any file", header_of(1, 0) + entry_of("x", {uint64_t{1} << 62}, 0, 0) + padding},
      {"larger than any file",
       header_of(1, 0) + entry_of("x", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0) + padding},
      {"end of the file", header_of(1, 0) + entry_of("x", {64}, 0, 0) + padding},
      {"end of the file", header_of(1, 0) + entry_of("x", {8}, 0, huge - 31) + padding},
      {"not aligned", header_of(1, 0) + entry_of("x", {8}, 0, 4) + padding},
      {"occurs twice", header_of(2, 0) + entry_of("x", {2}, 0, 0) + entry_of("x", {2}, 0, 0) + padding},
  };
  for (const auto& test : cases) {
    CAPTURE(test.said);
    const auto error = error_of_content(folder, test.content);
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says(test.said));
  }
  std::string nested = header_of(0, 1) + text_of("key") + bytes_of(uint32_t{9});
  for (int depth = 0; depth < 100; ++depth) nested += bytes_of(uint32_t{9}) + bytes_of(uint64_t{1});
  const auto error = error_of_content(folder, nested);
  REQUIRE(error);
  CHECK(error->says("nested"));
}
