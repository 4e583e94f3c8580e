#include "lib/core/files/gguf_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "lib/core/error.h"
#include "lib/core/files/mapped_file.h"
#include "lib/core/half_float.h"

namespace gca {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr int64_t kBlockValues = 32;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint32_t kMostDimensions = 4;  ///< the format's own limit
constexpr int kMostNestedLists = 4;

struct Storage {
  GgufType type;
  int64_t block_values;
  int64_t block_bytes;
};

constexpr Storage kStorages[] = {{GgufType::f32, 1, 4},
                                 {GgufType::f16, 1, 2},
                                 {GgufType::bf16, 1, 2},
                                 {GgufType::q8_0, kBlockValues, 2 + 32},
                                 {GgufType::q4_0, kBlockValues, 2 + 16},
                                 {GgufType::q4_1, kBlockValues, 4 + 16}};

const Storage* find_storage(GgufType type) {
  const auto* found = std::find_if(std::begin(kStorages), std::end(kStorages),
                                   [&](const Storage& storage) { return storage.type == type; });
  return found == std::end(kStorages) ? nullptr : found;
}

/// Names of types that files are often stored in, for messages.
std::string name_of_type(uint32_t type) {
  constexpr std::pair<uint32_t, const char*> kNames[] = {
      {6, "Q5_0"},   {7, "Q5_1"},    {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},
      {13, "Q5_K"},  {14, "Q6_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
      {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},
      {25, "I16"},   {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},
      {35, "TQ2_0"}, {39, "MXFP4"}};
  for (const auto& [number, name] : kNames)
    if (number == type) return name;
  return "the unknown type " + std::to_string(type);
}

/// Reads the front of a file, and says where it ends too early.
class Cursor {
 public:
  Cursor(const std::string& path, const MappedFile& file)
      : path_(path), data_(file.data()), size_(file.size_bytes()) {}

  [[noreturn]] void fail(const std::string& what) const {
    fail_usage(path_, "damaged GGUF file: " + what, "it may be truncated: copy or write it again");
  }

  size_t place() const { return at_; }
  size_t left() const { return size_ - at_; }

  std::string_view take_bytes(uint64_t count, const std::string& part) {
    if (count > left()) fail("it ends within " + part);
    const std::string_view bytes(reinterpret_cast<const char*>(data_) + at_, count);
    at_ += count;
    return bytes;
  }

  /// Little-endian, as all machines are that this runs on.
  template <class T>
  T take(const std::string& part) {
    static_assert(std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, take_bytes(sizeof(T), part).data(), sizeof(T));
    return value;
  }

  std::string take_text(const std::string& part) {
    const auto length = take<uint64_t>(part);
    return std::string(take_bytes(length, part));
  }

 private:
  const std::string& path_;
  const std::byte* data_;
  size_t size_;
  size_t at_ = 0;
};

/// The format's numbers of the types of metadata values.
enum class ValueType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, list, u64, i64, f64 };

GgufValue take_value(Cursor& cursor, ValueType type, const std::string& key, int depth);

GgufValue take_list(Cursor& cursor, const std::string& key, int depth) {
  if (depth >= kMostNestedLists) cursor.fail("the lists of " + key + " are nested too deeply");
  const auto type = static_cast<ValueType>(cursor.take<uint32_t>(key));
  const auto count = cursor.take<uint64_t>(key);
  // Each element takes a byte or more of the file, so nothing larger than the file is made room for.
  if (count > cursor.left()) cursor.fail("it ends within " + key);
  GgufValue::List list;
  for (uint64_t i = 0; i < count; ++i) list.push_back(take_value(cursor, type, key, depth + 1));
  return {std::move(list)};
}

GgufValue take_value(Cursor& cursor, ValueType type, const std::string& key, int depth) {
  const auto whole = [&](auto value) -> GgufValue {
    if (std::is_same_v<decltype(value), uint64_t> && std::bit_cast<int64_t>(uint64_t{value}) < 0)
      return {uint64_t{value}};
    return {static_cast<int64_t>(value)};
  };
  switch (type) {
    case ValueType::u8:
      return whole(cursor.take<uint8_t>(key));
    case ValueType::i8:
      return {int64_t{cursor.take<int8_t>(key)}};
    case ValueType::u16:
      return whole(cursor.take<uint16_t>(key));
    case ValueType::i16:
      return {int64_t{cursor.take<int16_t>(key)}};
    case ValueType::u32:
      return whole(cursor.take<uint32_t>(key));
    case ValueType::i32:
      return {int64_t{cursor.take<int32_t>(key)}};
    case ValueType::f32:
      return {double{cursor.take<float>(key)}};
    case ValueType::boolean: {
      const auto byte = cursor.take<uint8_t>(key);
      if (byte > 1) cursor.fail(key + " is neither true nor false");
      return {byte == 1};
    }
    case ValueType::text:
      return {cursor.take_text(key)};
    case ValueType::list:
      return take_list(cursor, key, depth);
    case ValueType::u64:
      return whole(cursor.take<uint64_t>(key));
    case ValueType::i64:
      return {cursor.take<int64_t>(key)};
    case ValueType::f64:
      return {cursor.take<double>(key)};
  }
  cursor.fail(key + " has a value of the unknown type " + std::to_string(static_cast<uint32_t>(type)));
}

/// A tensor, and where its data begins in the data of the file.
struct Placed {
  std::string name;
  GgufTensor tensor;
  uint64_t offset = 0;
};

Placed take_tensor(Cursor& cursor, const std::string& path) {
  Placed placed;
  placed.name = cursor.take_text("the table of tensors");
  const std::string part = "tensor \"" + placed.name + "\"";
  const auto dimensions = cursor.take<uint32_t>(part);
  if (dimensions < 1 || dimensions > kMostDimensions)
    cursor.fail(part + " has " + std::to_string(dimensions) + " dimensions");
  int64_t rows = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto extent = cursor.take<uint64_t>(part);
    if (extent == 0 || extent > INT64_MAX ||
        (i > 0 && __builtin_mul_overflow(rows, static_cast<int64_t>(extent), &rows)))
      cursor.fail(part + " has an extent of " + std::to_string(extent));
    placed.tensor.shape.insert(placed.tensor.shape.begin(), static_cast<int64_t>(extent));
  }
  const auto type = cursor.take<uint32_t>(part);
  const Storage* storage = find_storage(static_cast<GgufType>(type));
  if (storage == nullptr)
    fail_usage(path, part + " is stored as " + name_of_type(type),
               "give a file of F32, F16, BF16, Q8_0, Q4_0 or Q4_1 tensors");
  placed.tensor.type = storage->type;
  const int64_t row = placed.tensor.row_length();
  if (row % storage->block_values != 0)
    cursor.fail(part + " has rows of " + std::to_string(row) + " values, which are no whole blocks");
  int64_t size_bytes = 0;
  if (__builtin_mul_overflow(row / storage->block_values, storage->block_bytes, &size_bytes) ||
      __builtin_mul_overflow(size_bytes, rows, &size_bytes))
    cursor.fail(part + " is larger than any file");
  placed.tensor.size_bytes = static_cast<size_t>(size_bytes);
  placed.offset = cursor.take<uint64_t>(part);
  return placed;
}

template <class T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

float load_half(const std::byte* bytes) {
  return half_to_float(load<uint16_t>(bytes));
}

/// d (q - shift) + m of 32 nibbles, low ones first. (An m of -0 changes no value, not even the sign of a
/// zero.)
void decode_nibbles(const std::byte* nibbles, float d, float m, float shift, float* out) {
  for (int64_t i = 0; i < kBlockValues / 2; ++i) {
    const auto byte = std::to_integer<unsigned>(nibbles[i]);
    out[i] = d * (static_cast<float>(byte & 15) - shift) + m;
    out[i + kBlockValues / 2] = d * (static_cast<float>(byte >> 4) - shift) + m;
  }
}

void decode_block(GgufType type, const std::byte* block, float* out) {
  switch (type) {
    case GgufType::f32:
      *out = load<float>(block);
      return;
    case GgufType::f16:
      *out = load_half(block);
      return;
    case GgufType::bf16:
      *out = bfloat16_to_float(load<uint16_t>(block));
      return;
    case GgufType::q4_0:
      decode_nibbles(block + 2, load_half(block), -0.0F, 8, out);
      return;
    case GgufType::q4_1:
      decode_nibbles(block + 4, load_half(block), load_half(block + 2), 0, out);
      return;
    case GgufType::q8_0: {
      const float d = load_half(block);
      for (int64_t i = 0; i < kBlockValues; ++i) out[i] = d * static_cast<float>(load<int8_t>(block + 2 + i));
      return;
    }
  }
}

}  // namespace

struct GgufFile::Mapping {
  MappedFile file;
};

int64_t GgufTensor::row_count() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

GgufFile::GgufFile(const std::string& path)
    : path_(path), mapping_(std::make_unique<Mapping>(Mapping{MappedFile(path)})) {
  const MappedFile& file = mapping_->file;
  Cursor cursor(path_, file);
  if (cursor.left() < kMagic.size() || cursor.take_bytes(kMagic.size(), "its magic number") != kMagic)
    fail_usage(path, "is not a GGUF file", "give a file that llama.cpp reads");
  const auto version = cursor.take<uint32_t>("its version");
  if (version != 2 && version != 3)
    fail_usage(path, "is a GGUF file of version " + std::to_string(version) + " or of another byte order",
               "give one of version 2 or 3, little-endian");
  const auto tensor_count = cursor.take<uint64_t>("the number of tensors");
  const auto key_count = cursor.take<uint64_t>("the number of keys");
  for (uint64_t i = 0; i < key_count; ++i) {
    std::string key = cursor.take_text("the metadata");
    const auto type = static_cast<ValueType>(cursor.take<uint32_t>(key));
    GgufValue value = take_value(cursor, type, key, 0);
    if (!metadata_.emplace(key, std::move(value)).second) cursor.fail("it has the key " + key + " twice");
  }
  std::vector<Placed> table;
  for (uint64_t i = 0; i < tensor_count; ++i) table.push_back(take_tensor(cursor, path_));

  const char* const kAlignmentKey = "general.alignment";
  const uint64_t alignment =
      has(kAlignmentKey) ? static_cast<uint64_t>(whole_number(kAlignmentKey)) : kDefaultAlignment;
  if (!std::has_single_bit(alignment) || alignment > (uint64_t{1} << 30))
    cursor.fail("general.alignment is " + std::to_string(alignment));
  const uint64_t begin = (cursor.place() + alignment - 1) / alignment * alignment;
  const uint64_t data_bytes = begin > file.size_bytes() ? 0 : file.size_bytes() - begin;
  for (Placed& placed : table) {
    const std::string part = "tensor \"" + placed.name + "\"";
    if (placed.offset % alignment != 0)
      cursor.fail(part + " begins at byte " + std::to_string(placed.offset) + ", which is not aligned");
    if (placed.offset > data_bytes || placed.tensor.size_bytes > data_bytes - placed.offset)
      cursor.fail(part + " ends behind the end of the file");
    placed.tensor.data = file.data() + begin + placed.offset;
    if (!tensors_.emplace(placed.name, std::move(placed.tensor)).second) cursor.fail(part + " occurs twice");
  }
}

GgufFile::~GgufFile() = default;

const GgufTensor& GgufFile::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    fail_usage(path_, "has no tensor \"" + name + "\"", "use the file of another model");
  return found->second;
}

const GgufValue& GgufFile::value(const std::string& key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end())
    fail_usage(path_, "has no key " + key, "write it again with a current llama.cpp");
  return found->second;
}

namespace {

[[noreturn]] void fail_type(const std::string& path, const std::string& key, const char* wanted) {
  fail_usage(path, "the value of " + key + " is not " + wanted, "write it again with a current llama.cpp");
}

}  // namespace

bool GgufFile::flag(const std::string& key) const {
  if (const bool* held = std::get_if<bool>(&value(key).value)) return *held;
  fail_type(path_, key, "true or false");
}

int64_t GgufFile::whole_number(const std::string& key) const {
  if (const int64_t* held = std::get_if<int64_t>(&value(key).value)) return *held;
  fail_type(path_, key, "a whole number");
}

double GgufFile::number(const std::string& key) const {
  const auto& held = value(key).value;
  if (const double* real = std::get_if<double>(&held)) return *real;
  if (const int64_t* whole = std::get_if<int64_t>(&held)) return static_cast<double>(*whole);
  fail_type(path_, key, "a number");
}

const std::string& GgufFile::text(const std::string& key) const {
  if (const std::string* held = std::get_if<std::string>(&value(key).value)) return *held;
  fail_type(path_, key, "text");
}

const GgufValue::List& GgufFile::list(const std::string& key) const {
  if (const GgufValue::List* held = std::get_if<GgufValue::List>(&value(key).value)) return *held;
  fail_type(path_, key, "a list");
}

std::vector<std::string> GgufFile::texts(const std::string& key) const {
  std::vector<std::string> texts;
  for (const GgufValue& element : list(key)) {
    const auto* held = std::get_if<std::string>(&element.value);
    if (held == nullptr) fail_type(path_, key, "a list of texts");
    texts.push_back(*held);
  }
  return texts;
}

std::vector<int64_t> GgufFile::whole_numbers(const std::string& key) const {
  std::vector<int64_t> numbers;
  for (const GgufValue& element : list(key)) {
    const auto* held = std::get_if<int64_t>(&element.value);
    if (held == nullptr) fail_type(path_, key, "a list of whole numbers");
    numbers.push_back(*held);
  }
  return numbers;
}

void decode_gguf_rows(const GgufTensor& tensor, int64_t first, std::span<float> out) {
  const Storage& storage = *find_storage(tensor.type);
  const int64_t blocks_of_row = tensor.row_length() / storage.block_values;
  const std::byte* block = tensor.data + first * blocks_of_row * storage.block_bytes;
  const int64_t blocks = static_cast<int64_t>(out.size()) / storage.block_values;
  for (int64_t i = 0; i < blocks; ++i, block += storage.block_bytes)
    decode_block(tensor.type, block, out.data() + i * storage.block_values);
}

}  // namespace gca
