#include "lib/core/files/safetensors_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "lib/core/checksums/checksum.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/mapped_file.h"

namespace gca {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;                 ///< of the little-endian header length
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  ///< the format's own limit
constexpr size_t kDataAlignment = 64;              ///< of the data's beginning in files that we write
constexpr const char* kMetadataKey = "__metadata__";

[[noreturn]] void fail_format(const std::string& path, const std::string& what) {
  fail_usage(path, "damaged safetensors file: " + what, "it may be truncated: copy or write it again");
}

uint64_t load_little_endian(const std::byte* bytes) {
  uint64_t value = 0;
  for (size_t i = kLengthBytes; i-- > 0;) value = value << 8 | std::to_integer<uint64_t>(bytes[i]);
  return value;
}

/// The header as JSON. Keys that occur twice in one object are refused: which one counts is not defined.
json parse_header(const std::string& path, const char* begin, const char* end) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string repeated;
  const json::parser_callback_t watch_keys = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      repeated = parsed.get<std::string>();
    return true;
  };
  json header = json::parse(begin, end, watch_keys, /*allow_exceptions=*/false);
  if (!header.is_object()) fail_format(path, "the header is not a JSON object");
  if (!repeated.empty()) fail_format(path, "the header has \"" + repeated + "\" twice");
  return header;
}

/// A whole number from 0 to INT64_MAX.
bool read_count(const json& value, uint64_t& out) {
  if (!value.is_number_unsigned()) return false;
  out = value.get<uint64_t>();
  return out <= static_cast<uint64_t>(INT64_MAX);
}

/// One tensor's place in the file, still relative to the beginning of the data.
struct Placement {
  std::string name;
  uint64_t begin = 0;
  uint64_t end = 0;
};

/// dtype, shape and byte range of one header entry, each checked and the size against dtype and shape.
Placement read_entry(const std::string& path, const std::string& name, const json& fields,
                     SafetensorsEntry& entry) {
  const std::string tensor = "tensor \"" + name + "\"";
  if (!fields.is_object() || fields.size() != 3 || !fields.contains("dtype") || !fields.contains("shape") ||
      !fields.contains("data_offsets"))
    fail_format(path, tensor + " must have dtype, shape and data_offsets");

  const json& dtype = fields["dtype"];
  const size_t element_bytes = dtype.is_string() ? safetensors_dtype_size(dtype.get<std::string>()) : 0;
  if (element_bytes == 0) fail_format(path, tensor + " has the unknown dtype " + dtype.dump());
  entry.dtype = dtype.get<std::string>();

  const json& shape = fields["shape"];
  if (!shape.is_array()) fail_format(path, tensor + " has no list as its shape");
  uint64_t size_bytes = element_bytes;
  for (const json& extent : shape) {
    uint64_t length = 0;
    if (!read_count(extent, length)) fail_format(path, tensor + " has the shape " + shape.dump());
    if (__builtin_mul_overflow(size_bytes, length, &size_bytes))
      fail_format(path, tensor + " is larger than any file");
    entry.shape.push_back(static_cast<int64_t>(length));
  }

  const json& offsets = fields["data_offsets"];
  Placement place{name};
  if (!offsets.is_array() || offsets.size() != 2 || !read_count(offsets[0], place.begin) ||
      !read_count(offsets[1], place.end) || place.begin > place.end)
    fail_format(path, tensor + " has the byte range " + offsets.dump());
  if (place.end - place.begin != size_bytes)
    fail_format(path, tensor + " has " + std::to_string(place.end - place.begin) +
                          " bytes where its shape takes " + std::to_string(size_bytes));
  entry.size_bytes = size_bytes;
  return place;
}

/// Back to back from the first byte of the data to the last.
void check_placements(const std::string& path, std::vector<Placement> places, uint64_t data_bytes) {
  std::sort(places.begin(), places.end(), [](const Placement& a, const Placement& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t reached = 0;
  for (const Placement& place : places) {
    if (place.begin != reached)
      fail_format(path, "tensor \"" + place.name + "\" begins at byte " + std::to_string(place.begin) +
                            " of the data, not at " + std::to_string(reached));
    reached = place.end;
    if (reached > data_bytes)
      fail_format(path, "tensor \"" + place.name + "\" ends at byte " + std::to_string(reached) + " of " +
                            std::to_string(data_bytes) + " bytes of data");
  }
  if (reached != data_bytes)
    fail_format(path, std::to_string(data_bytes - reached) + " bytes behind the last tensor");
}

/// Of all that a file says, whatever the order of its tensors.
std::string checksum_of(const std::map<std::string, SafetensorsEntry>& entries,
                        const std::map<std::string, std::string>& metadata,
                        ChecksumKind kind = ChecksumKind::xxh3) {
  Checksum checksum(kind);
  const auto add_text = [&](const std::string& text) {
    checksum.update(std::to_string(text.size()) + ":" + text);
  };
  for (const auto& [key, value] : metadata) {
    if (key == kSafetensorsChecksum) continue;
    add_text(key);
    add_text(value);
  }
  for (const auto& [name, entry] : entries) {
    add_text(name);
    add_text(entry.dtype);
    add_text(json(entry.shape).dump());
    checksum.update(entry.data, entry.size_bytes);
  }
  return checksum.text();
}

}  // namespace

struct SafetensorsFile::Mapping {
  MappedFile file;
};

size_t safetensors_dtype_size(const std::string& dtype) {
  struct DtypeSize {
    const char* name;
    size_t size_bytes;
  };
  static constexpr std::array<DtypeSize, 14> kSizes = {{{"BOOL", 1},
                                                        {"U8", 1},
                                                        {"I8", 1},
                                                        {"F8_E5M2", 1},
                                                        {"F8_E4M3", 1},
                                                        {"I16", 2},
                                                        {"U16", 2},
                                                        {"F16", 2},
                                                        {"BF16", 2},
                                                        {"I32", 4},
                                                        {"U32", 4},
                                                        {"F32", 4},
                                                        {"F64", 8},
                                                        {"I64", 8}}};
  for (const auto& [name, size_bytes] : kSizes)
    if (dtype == name) return size_bytes;
  return dtype == "U64" ? 8 : 0;
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), mapping_(std::make_unique<Mapping>(Mapping{MappedFile(path)})) {
  const MappedFile& file = mapping_->file;
  if (file.size_bytes() < kLengthBytes) fail_format(path, "shorter than its 8-byte header length");
  const uint64_t header_bytes = load_little_endian(file.data());
  if (header_bytes > kMaxHeaderBytes || header_bytes > file.size_bytes() - kLengthBytes)
    fail_format(path, "the header length is " + std::to_string(header_bytes) + " in a file of " +
                          std::to_string(file.size_bytes()) + " bytes");

  const std::byte* data = file.data() + kLengthBytes + header_bytes;
  const auto* text = reinterpret_cast<const char*>(file.data() + kLengthBytes);
  const json header = parse_header(path, text, text + header_bytes);

  std::vector<Placement> places;
  for (const auto& [name, fields] : header.items()) {
    if (name == kMetadataKey) {
      if (!fields.is_object()) fail_format(path, "__metadata__ is not an object");
      for (const auto& [key, value] : fields.items()) {
        if (!value.is_string()) fail_format(path, "__metadata__ \"" + key + "\" is not a string");
        metadata_[key] = value.get<std::string>();
      }
      continue;
    }
    SafetensorsEntry& entry = entries_[name];
    places.push_back(read_entry(path, name, fields, entry));
    entry.data = data + places.back().begin;  // not read before check_placements() below
  }
  check_placements(path, std::move(places), file.size_bytes() - kLengthBytes - header_bytes);
}

SafetensorsFile::~SafetensorsFile() = default;

const SafetensorsEntry& SafetensorsFile::at(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    fail_usage(path_, "has no tensor \"" + name + "\"", "use the file of another model");
  return found->second;
}

void SafetensorsFile::verify() const {
  const auto expected = metadata_.find(kSafetensorsChecksum);
  if (expected != metadata_.end() &&
      expected->second != checksum_of(entries_, metadata_, checksum_kind_of(expected->second)))
    fail_usage(
        path_,
        "does not match its checksum: it is damaged, or another program changed it and kept the old one",
        std::string("write it again, without the key ") + kSafetensorsChecksum +
            " in its metadata where it was changed");
}

void write_safetensors(const std::string& path, std::span<const SafetensorsTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  header[kMetadataKey] = metadata;
  std::map<std::string, SafetensorsEntry> entries;
  uint64_t offset = 0;
  std::vector<size_t> sizes;
  for (const SafetensorsTensor& tensor : tensors) {
    size_t size_bytes = safetensors_dtype_size(tensor.dtype);
    if (size_bytes == 0)
      fail_run(path, "tensor \"" + tensor.name + "\" has the unknown dtype " + tensor.dtype);
    if (header.contains(tensor.name)) fail_run(path, "tensor \"" + tensor.name + "\" occurs twice");
    for (const int64_t extent : tensor.shape) size_bytes *= static_cast<size_t>(extent);
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + size_bytes}}};
    entries[tensor.name] = {tensor.dtype, tensor.shape, static_cast<const std::byte*>(tensor.data),
                            size_bytes};
    sizes.push_back(size_bytes);
    offset += size_bytes;
  }

  header[kMetadataKey][kSafetensorsChecksum] = checksum_of(entries, metadata);
  std::string text = header.dump();
  const size_t unaligned = (kLengthBytes + text.size()) % kDataAlignment;
  if (unaligned != 0)
    text.append(kDataAlignment - unaligned, ' ');  // spaces: the padding that the format allows
  std::array<unsigned char, kLengthBytes> length;
  for (size_t i = 0; i < kLengthBytes; ++i)
    length[i] = static_cast<unsigned char>(uint64_t{text.size()} >> (8 * i));

  AtomicFile file(path);
  file.write(length.data(), length.size());
  file.write(text);
  for (size_t i = 0; i < tensors.size(); ++i) file.write(tensors[i].data, sizes[i]);
  file.commit();
}

}  // namespace gca
