#include "lib/train/progress/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "lib/core/error.h"

namespace gca::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNamePrefix = "events.out.tfevents.";
constexpr const char* kNameMark = ".gca.";  // of ours, before the number of the process

/// CRC-32C (Castagnoli), reflected.
uint32_t crc32c(std::string_view data) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> entries{};
    for (uint32_t byte = 0; byte < entries.size(); ++byte) {
      uint32_t value = byte;
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82F63B78U : 0U);
      entries[byte] = value;
    }
    return entries;
  }();
  uint32_t crc = ~0U;
  for (const char c : data) crc = crc >> 8 ^ table[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~crc;
}

/// A checksum of data that holds checksums is masked.
uint32_t masked(uint32_t crc) {
  return std::rotr(crc, 15) + 0xA282EAD8U;
}

template <class Number>
std::string little_endian(Number number) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(sizeof(number), '\0');
  std::memcpy(bytes.data(), &number, sizeof(number));
  return bytes;
}

std::string varint(uint64_t number) {
  std::string bytes;
  for (; number >= 0x80; number >>= 7) bytes += static_cast<char>((number & 0x7F) | 0x80);
  return bytes + static_cast<char>(number);
}

// Fields of Protocol Buffers: number << 3 | wire type (0 varint, 1 fixed64, 2 bytes, 5 fixed32), then the value.
std::string key(uint32_t number, uint32_t type) {
  return varint(number << 3 | type);
}
std::string field_double(uint32_t number, double value) {
  return key(number, 1) + little_endian(value);
}
std::string field_float(uint32_t number, float value) {
  return key(number, 5) + little_endian(value);
}
std::string field_int(uint32_t number, int64_t value) {
  return key(number, 0) + varint(static_cast<uint64_t>(value));
}
std::string field_bytes(uint32_t number, std::string_view value) {
  return key(number, 2) + varint(value.size()) + std::string(value);
}

// Event: wall_time 1, step 2, file_version 3, summary 5, session_log 7. Summary: value 1. Value: tag 1, simple_value 2.
std::string event(double wall_time, int64_t step, const std::string& what) {
  return field_double(1, wall_time) + field_int(2, step) + what;
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool is_ours(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with(kNamePrefix) && name.find(kNameMark) != std::string::npos;
}

void add_numbers(const nlohmann::ordered_json& object, const std::string& prefix,
                 std::vector<Scalar>& scalars) {
  for (const auto& [name, value] : object.items())
    if (value.is_number() && name != "step") scalars.push_back({prefix + name, value.get<double>()});
}

}  // namespace

std::vector<Scalar> scalars_of(const nlohmann::ordered_json& line) {
  std::vector<Scalar> scalars;
  if (line.contains("valid")) {
    const auto& valid = line["valid"];
    add_numbers(valid, valid.contains("task") ? "valid/" + valid["task"].get<std::string>() + "/" : "valid/",
                scalars);
  } else if (line.contains("loss")) {
    add_numbers(line, "train/", scalars);
    if (line.contains("retrieval"))
      for (size_t group = 0; group < line["retrieval"].size(); ++group)
        add_numbers(line["retrieval"][group], fmt::format("retrieval/{}/", group), scalars);
  }
  return scalars;
}

std::string event_record(std::string_view data) {
  const std::string length = little_endian(uint64_t{data.size()});
  return length + little_endian(masked(crc32c(length))) + std::string(data) +
         little_endian(masked(crc32c(data)));
}

std::string scalar_event(double wall_time, int64_t step, const std::vector<Scalar>& scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars)
    summary += field_bytes(1, field_bytes(1, scalar.tag) + field_float(2, static_cast<float>(scalar.value)));
  return event(wall_time, step, field_bytes(5, summary));
}

void remove_event_files(const std::string& folder) {
  std::vector<fs::path> ours;
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_ours(entry.path())) ours.push_back(entry.path());
  for (const fs::path& path : ours) fs::remove(path);
}

EventFile::EventFile(const std::string& folder, int64_t step) {
  const double now = now_seconds();
  path_ = fmt::format("{}/{}{:.0f}{}{}", folder, kNamePrefix, now, kNameMark, ::getpid());
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_run(path_, std::string("cannot be written: ") + std::strerror(errno));
  constexpr int64_t kStart = 1;  // SessionLog.START: what was told of this step and later ones is dropped
  write(event_record(event(now, 0, field_bytes(3, "brain.Event:2"))));
  if (step > 0) write(event_record(event(now, step + 1, field_bytes(7, field_int(1, kStart)))));
}

EventFile::~EventFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void EventFile::write(const std::string& record) {
  ssize_t written = 0;
  do written = ::write(descriptor_, record.data(), record.size());
  while (written < 0 && errno == EINTR);
  if (written != static_cast<ssize_t>(record.size()))
    fail_run(path_, std::string("cannot be written: ") + std::strerror(errno), "free space on the disk");
}

void EventFile::append(const nlohmann::ordered_json& line) {
  const std::vector<Scalar> scalars = scalars_of(line);
  if (!scalars.empty())
    write(event_record(scalar_event(now_seconds(), line["step"].get<int64_t>(), scalars)));
}

}  // namespace gca::train
