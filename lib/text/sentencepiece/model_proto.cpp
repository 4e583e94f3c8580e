#include "lib/text/sentencepiece/model_proto.h"

#include <cstdint>
#include <optional>

namespace gca::text {
namespace {

struct ProtoField {
  uint64_t number = 0;
  uint64_t value = 0;      ///< of a number
  std::string_view bytes;  ///< of a string or message
};

/// Walks the fields of one message of the protocol buffer wire format.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view message) : rest_(message) {}

  /// The next field that stands in no group; nothing at the end, or where the bytes are not a message.
  std::optional<ProtoField> next() {
    for (int64_t open_groups = 0;;) {
      const auto tag = read_varint();
      if (!tag) return std::nullopt;
      constexpr uint64_t kStartGroup = 3, kEndGroup = 4;
      const uint64_t type = *tag & 7;
      if (type == kStartGroup) {
        ++open_groups;
      } else if (type == kEndGroup) {
        if (--open_groups < 0) return std::nullopt;
      } else {
        const auto field = read_field(*tag >> 3, type);
        if (!field || open_groups == 0) return field;
      }
    }
  }

 private:
  std::optional<ProtoField> read_field(uint64_t number, uint64_t type) {
    ProtoField field;
    field.number = number;
    constexpr uint64_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;
    switch (type) {
      case kVarint: {
        const auto value = read_varint();
        if (!value) return std::nullopt;
        field.value = *value;
        return field;
      }
      case kFixed64:
        return take(8, field);
      case kFixed32:
        return take(4, field);
      case kBytes: {
        const auto size_bytes = read_varint();
        return size_bytes ? take(*size_bytes, field) : std::nullopt;
      }
      default:
        return std::nullopt;
    }
  }

  std::optional<uint64_t> read_varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::optional<ProtoField> take(uint64_t size_bytes, ProtoField field) {
    if (size_bytes > rest_.size()) return std::nullopt;
    field.bytes = rest_.substr(0, size_bytes);
    rest_.remove_prefix(size_bytes);
    return field;
  }

  std::string_view rest_;
};

// Field numbers of sentencepiece_model.proto.
void read_trainer_spec(std::string_view message, ModelTraits& traits) {
  constexpr uint64_t kModelType = 3, kSpacesAsSuffix = 24, kByteFallback = 35, kBpe = 2;
  ProtoReader reader(message);
  while (const auto field = reader.next()) {
    if (field->number == kModelType) traits.is_bpe = field->value == kBpe;
    if (field->number == kSpacesAsSuffix) traits.has_spaces_as_suffix = field->value != 0;
    if (field->number == kByteFallback) traits.has_byte_fallback = field->value != 0;
  }
}

void read_normalizer_spec(std::string_view message, ModelTraits& traits) {
  constexpr uint64_t kCharacterMap = 2, kDummyPrefix = 3, kRemoveExtraSpaces = 4, kEscapeSpaces = 5;
  ProtoReader reader(message);
  while (const auto field = reader.next()) {
    if (field->number == kCharacterMap) traits.has_character_map = !field->bytes.empty();
    if (field->number == kDummyPrefix) traits.adds_dummy_prefix = field->value != 0;
    if (field->number == kRemoveExtraSpaces) traits.removes_extra_spaces = field->value != 0;
    if (field->number == kEscapeSpaces) traits.escapes_spaces = field->value != 0;
  }
}

}  // namespace

bool has_impossible_piece(std::string_view serialized) {
  constexpr uint64_t kPiece = 1, kText = 1;
  ProtoReader model(serialized);
  while (const auto piece = model.next()) {
    if (piece->number != kPiece) continue;
    ProtoReader fields(piece->bytes);
    std::string_view text;  // the last one counts
    while (const auto field = fields.next())
      if (field->number == kText) text = field->bytes;
    if (text.empty() || text.find('\0') != std::string_view::npos) return true;
  }
  return false;
}

ModelTraits read_model_traits(std::string_view serialized) {
  constexpr uint64_t kTrainerSpec = 2, kNormalizerSpec = 3;
  ModelTraits traits;
  ProtoReader reader(serialized);
  while (const auto field = reader.next()) {
    if (field->number == kTrainerSpec) read_trainer_spec(field->bytes, traits);
    if (field->number == kNormalizerSpec) read_normalizer_spec(field->bytes, traits);
  }
  return traits;
}

std::string without_dummy_prefix(std::string_view serialized) {
  // A message that comes again is merged with the first: normalizer_spec {add_dummy_prefix: false}.
  constexpr char kOverride[] = {(3 << 3) | 2, 2, 3 << 3, 0};
  return std::string(serialized) + std::string(kOverride, sizeof(kOverride));
}

}  // namespace gca::text
