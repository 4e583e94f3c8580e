#include "lib/core/files/safetensors_file.h"

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "lib/core/files/atomic_file.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

using namespace gca;
using nlohmann::json;

namespace {

/// A file with this header and these data, by the format's description.
std::string file_of(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof(length));  // little-endian, as this machine is
  return file + header + data;
}

std::string bytes_of(const SafetensorsEntry& entry) {
  return {reinterpret_cast<const char*>(entry.data), entry.size_bytes};
}

/// Two tensors of 16 and 6 bytes, and an empty one between them.
constexpr const char* kHeader = R"({"__metadata__":{"format":"pt","seed":"7"},)"
                                R"("b":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                                R"("none":{"dtype":"I64","shape":[0,5],"data_offsets":[16,16]},)"
                                R"("a":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}})";
constexpr const char* kData = "0123456789abcdefUVWXYZ";

/// What opening a file with `header` throws.
std::optional<CaughtError> error_of_header(const TemporaryFolder& folder, const std::string& header,
                                           const std::string& data = kData) {
  testing::write_file(folder / "file", file_of(header, data));
  return error_of([&] { SafetensorsFile file(folder / "file"); });
}

}  // namespace

TEST_CASE("a file made by hand is read") {
  const TemporaryFolder folder;
  testing::write_file(folder / "file", file_of(kHeader, kData));
  const SafetensorsFile file(folder / "file");
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"seed", "7"}});
  CHECK(file.entries().size() == 3);
  CHECK(file.at("b").dtype == "F32");
  CHECK(file.at("b").shape == std::vector<int64_t>{2, 2});
  CHECK(bytes_of(file.at("b")) == "0123456789abcdef");
  CHECK(bytes_of(file.at("a")) == "UVWXYZ");
  CHECK(file.at("none").shape == std::vector<int64_t>{0, 5});
  CHECK(file.at("none").size_bytes == 0);

  const auto error = error_of([&] { file.at("c"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("\"c\""));
}

TEST_CASE("what is written follows the format and is read back") {
  const TemporaryFolder folder;
  std::vector<float> weights(35);
  std::iota(weights.begin(), weights.end(), 0.5f);
  const std::vector<int64_t> step = {1234567890123};
  const std::vector<SafetensorsTensor> tensors = {{"z.weight", "F32", {5, 7}, weights.data()},
                                                  {"empty", "BF16", {0}, nullptr},
                                                  {"step", "I64", {}, step.data()}};
  write_safetensors(folder / "file", tensors, {{"format", "pt"}, {"note", "a \"quoted\"\nline"}});

  // A reader of its own, by the description of the format.
  const std::string file = read_file(folder / "file");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  const json header = json::parse(file.substr(8, length));
  const std::string data = file.substr(8 + length);
  CHECK((8 + length) % 64 == 0);
  CHECK(file[8] == '{');
  json metadata = header["__metadata__"];
  CHECK(metadata.erase(kSafetensorsChecksum) == 1);
  CHECK(metadata == json{{"format", "pt"}, {"note", "a \"quoted\"\nline"}});
  CHECK(header["z.weight"] == json{{"dtype", "F32"}, {"shape", {5, 7}}, {"data_offsets", {0, 140}}});
  CHECK(header["empty"] == json{{"dtype", "BF16"}, {"shape", {0}}, {"data_offsets", {140, 140}}});
  CHECK(header["step"] == json{{"dtype", "I64"}, {"shape", json::array()}, {"data_offsets", {140, 148}}});
  REQUIRE(data.size() == 148);
  const std::string weight_bytes(reinterpret_cast<const char*>(weights.data()), 140);
  CHECK(data.substr(0, 140) == weight_bytes);
  CHECK(std::memcmp(data.data() + 140, step.data(), 8) == 0);

  const SafetensorsFile again(folder / "file");
  CHECK(bytes_of(again.at("z.weight")) == data.substr(0, 140));
  CHECK(again.metadata().at("note") == "a \"quoted\"\nline");
}

TEST_CASE("verify finds every flipped bit that changes what a file says") {
  const TemporaryFolder folder;
  const std::string data = "0123456789abcdefghijklmnopqrstuvwxyz";
  write_safetensors(
      folder / "file",
      std::vector<SafetensorsTensor>{{"b", "F32", {2, 2}, data.data()}, {"a", "BF16", {3}, data.data() + 16}},
      {{"format", "pt"}, {"note", "x"}});
  const std::string whole = read_file(folder / "file");
  const SafetensorsFile before(folder / "file");
  before.verify();
  int accepted = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    testing::write_file(folder / "damaged", damaged);
    const auto error = error_of([&] {
      const SafetensorsFile file(folder / "damaged");
      file.verify();
      // Accepted: the key of the checksum itself was hit, or a space behind the header has become another one.
      ++accepted;
      REQUIRE(bytes_of(file.at("b")) == data.substr(0, 16));
      REQUIRE(bytes_of(file.at("a")) == data.substr(16, 6));
      REQUIRE(file.metadata().at("note") == "x");
    });
    if (error) REQUIRE(error->is_usage());
  }
  CHECK(accepted < 8 * static_cast<int>(std::strlen(kSafetensorsChecksum)) + 64);

  testing::write_file(folder / "foreign", file_of(kHeader, kData));
  SafetensorsFile(folder / "foreign").verify();
}

TEST_CASE("a file without tensors is a file") {
  const TemporaryFolder folder;
  write_safetensors(folder / "file", {}, {});
  CHECK(SafetensorsFile(folder / "file").entries().empty());
}

TEST_CASE("headers that contradict themselves or the data are refused") {
  const TemporaryFolder folder;
  const auto tensor = [](const std::string& fields) { return R"({"a":{)" + fields + "}}"; };
  const std::string cases[] = {
      "",
      "[]",
      "7",
      R"({"a":7})",
      R"({"a":)",
      tensor(R"("dtype":"F32","shape":[4])"),
      tensor(R"("dtype":"F31","shape":[4],"data_offsets":[0,16])"),
      tensor(R"("dtype":32,"shape":[4],"data_offsets":[0,16])"),
      tensor(R"("dtype":"F32","shape":4,"data_offsets":[0,16])"),
      tensor(R"("dtype":"F32","shape":[4.0],"data_offsets":[0,16])"),
      tensor(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])"),
      tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,16])"),
      tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0])"),
      tensor(R"("dtype":"F32","shape":[4],"data_offsets":[16,0])"),
      tensor(R"("dtype":"F32","shape":[4],"data_offsets":[4,20])"),  // beyond the end, a hole before
      tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])"),  // bytes behind
      tensor(R"("dtype":"F32","shape":[8],"data_offsets":[0,32])"),  // beyond the end
      tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"),  // 2^66 bytes
      tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1)"),
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]}})",
      R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
      R"({"__metadata__":{"a":1},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
      R"({"__metadata__":[],"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"};
  const std::string data(16, 'x');
  REQUIRE_FALSE(error_of_header(folder, tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), data));
  for (const std::string& header : cases) {
    CAPTURE(header);
    const auto error = error_of_header(folder, header, data);
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->message.starts_with(folder / "file"));
  }
  CHECK(error_of_header(folder, tensor(R"("dtype":"F31","shape":[4],"data_offsets":[0,16])"), data)
            ->says("\"a\""));
}

TEST_CASE("a file cut short anywhere is refused") {
  const TemporaryFolder folder;
  const std::string whole = file_of(kHeader, kData);
  for (size_t length = 0; length < whole.size(); ++length) {
    testing::write_file(folder / "file", whole.substr(0, length));
    const auto error = error_of([&] { SafetensorsFile file(folder / "file"); });
    REQUIRE(error);
    REQUIRE(error->is_usage());
  }
}

TEST_CASE("no flipped bit of the header leads outside the file") {
  const TemporaryFolder folder;
  const std::string whole = file_of(kHeader, kData);
  const size_t header_end = 8 + std::strlen(kHeader);
  int accepted = 0;
  for (size_t bit = 0; bit < header_end * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    testing::write_file(folder / "file", damaged);
    const auto error = error_of([&] {
      // What is still accepted (a name or a metadata value has changed) has the same tensors.
      const SafetensorsFile file(folder / "file");
      ++accepted;
      std::multimap<std::string, std::string> found;
      for (const auto& [name, entry] : file.entries()) found.emplace(entry.dtype, bytes_of(entry));
      REQUIRE(found.find("F32") != found.end());
      REQUIRE(found.find("F32")->second == "0123456789abcdef");
      REQUIRE(found.find("BF16") != found.end());
      REQUIRE(found.find("BF16")->second == "UVWXYZ");
    });
    if (error) REQUIRE(error->is_usage());
  }
  CHECK(accepted > 0);
  CHECK(accepted < static_cast<int>(header_end * 8 / 2));
}
