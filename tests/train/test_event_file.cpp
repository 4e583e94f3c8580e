#include "lib/train/progress/event_file.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>

#include "lib/core/files/atomic_file.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using namespace gca::train;

namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

}  // namespace

TEST_CASE("A record has its length, and masked CRC-32C sums of length and data") {
  // CRC-32C("123456789") is 0xE3069283, the check value of that polynomial; the sum is masked as TFRecord does.
  const std::string record = event_record("123456789");
  REQUIRE(record.size() == 8 + 4 + 9 + 4);
  CHECK(record.substr(0, 8) == bytes({9, 0, 0, 0, 0, 0, 0, 0}));
  CHECK(record.substr(12, 9) == "123456789");
  uint32_t sum = 0;
  std::memcpy(&sum, record.data() + 21, 4);
  const uint32_t crc = 0xE3069283U;
  CHECK(sum == ((crc >> 15 | crc << 17) + 0xA282EAD8U));
}

TEST_CASE("An event is the bytes that its message definition asks for") {
  // wall_time 1.5 (field 1, fixed64), step 300 (field 2, varint), summary (field 5) with one value (field 1): tag (1) "a",
  // simple_value (2, fixed32) 1.0.
  CHECK(scalar_event(1.5, 300, {{"a", 1.0}}) ==
        bytes({0x09, 0,    0,    0,    0,    0,    0,   0xF8, 0x3F, 0x10, 0xAC, 0x02,
               0x2A, 0x0A, 0x0A, 0x08, 0x0A, 0x01, 'a', 0x15, 0,    0,    0x80, 0x3F}));
}

TEST_CASE("Numbers of a line of metrics become tags") {
  const auto tags = [](const char* line) {
    std::string all;
    for (const Scalar& scalar : scalars_of(nlohmann::ordered_json::parse(line))) all += scalar.tag + " ";
    return all;
  };
  CHECK(tags(R"({"step": 3, "tokens": 9, "loss": 1.5, "bits_per_byte": null,
                 "retrieval": [{"spread": 1, "entropy": 2}, {"spread": 3}]})") ==
        "train/tokens train/loss retrieval/0/spread retrieval/0/entropy retrieval/1/spread ");
  CHECK(tags(R"({"step": 3, "valid": {"step": 3, "loss": 2}})") == "valid/loss ");
  CHECK(tags(R"({"step": 3, "valid": {"step": 3, "loss": 2, "task": "recall"}})") == "valid/recall/loss ");
  CHECK(tags(R"({"step": 3, "changes": []})") == "");
}

TEST_CASE("A run that begins removes the event files of an earlier one, and nothing else") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "events.out.tfevents.1.gca.2", "old");
  write_file_atomically(folder / "events.out.tfevents.1.host", "of another program");
  remove_event_files(folder.path());
  { const EventFile file(folder.path(), 0); }
  CHECK(!std::filesystem::exists(folder / "events.out.tfevents.1.gca.2"));
  CHECK(std::filesystem::exists(folder / "events.out.tfevents.1.host"));
  const auto count = [&] {
    return std::distance(std::filesystem::directory_iterator(folder.path()),
                         std::filesystem::directory_iterator());
  };
  CHECK(count() == 2);
}
