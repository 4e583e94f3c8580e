// SentencePiece models (tokenizer.model).

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "lib/core/error.h"
#include "lib/core/utf8.h"
#include "lib/text/sentencepiece/model_proto.h"
#include "lib/text/sentencepiece/plain_text.h"
#include "lib/text/tokenizer_model.h"
#include "lib/text/word_cache.h"

namespace gca::text {
namespace {

/// What is looked up as a word; longer stretches without a safe cut are encoded as they are.
constexpr size_t kMostWordBytes = 64;
constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

/// Bytes that a piece stands for: its text with U+2581 as a space.
std::string unescape_spaces(std::string_view piece) {
  std::string bytes;
  while (!piece.empty()) {
    const bool is_space = piece.starts_with(kSpaceSymbol);
    bytes += is_space ? ' ' : piece.front();
    piece.remove_prefix(is_space ? kSpaceSymbol.size() : 1);
  }
  return bytes;
}

class SentencePieceModel : public TokenizerModel {
 public:
  SentencePieceModel(const std::string& serialized, const std::string& where);
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  void encode(std::string_view text, bool goes_on, std::vector<int32_t>& ids,
              TextFaults& faults) const override;
  size_t safe_cut(std::string_view text, size_t limit) const override;

 private:
  void load_pieces();
  bool keeps_every_text() const;
  void find_safe_cuts();
  void load_processor_of_rest(const std::string& serialized);
  bool is_safe_cut(char before, char after) const;
  std::string_view next_word(std::string_view text) const;
  void encode_piecewise(std::string_view text, bool goes_on, std::vector<int32_t>& ids) const;
  void encode_plain(std::string_view text, bool goes_on, std::vector<int32_t>& ids, TextFaults& faults) const;
  void encode_special(std::string_view special, std::vector<int32_t>& ids, TextFaults& faults) const;

  sentencepiece::SentencePieceProcessor processor_;
  /// Without the dummy prefix: what follows a cut. Only for a model that has one.
  std::optional<sentencepiece::SentencePieceProcessor> processor_of_rest_;
  ModelTraits traits_;
  Vocabulary vocabulary_;
  std::array<int32_t, 256> byte_ids_ = {};  ///< with byte fallback
  bool can_cut_after_newline_ = false;
  bool can_cut_before_space_ = false;
  ThreadWordCache cache_;
};

void SentencePieceModel::load_pieces() {
  for (int id = 0; id < processor_.GetPieceSize(); ++id) {
    const std::string& piece = processor_.IdToPiece(id);
    std::string bytes;
    if (processor_.IsByte(id)) {
      unsigned byte = 0;
      std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);  // "<0x" before, ">" behind
      byte_ids_[byte & 0xFF] = id;
      bytes = static_cast<char>(byte);
    } else if (processor_.IsUnknown(id)) {
      bytes = kReplacementCharacter;
    } else if (!processor_.IsControl(id)) {
      bytes = unescape_spaces(piece);
    }
    vocabulary_.bytes_of_id.push_back(std::move(bytes));
  }
}

/// Whether decode() gives every text back. A model file may promise byte fallback and lack a piece that it
/// takes: one of the bytes, or the one that stands for a space; or call a character a control piece, which
/// has no text.
bool SentencePieceModel::keeps_every_text() const {
  if (!traits_.is_identity() || !traits_.has_byte_fallback) return false;
  const int space = processor_.PieceToId(kSpaceSymbol);
  if (processor_.IsUnknown(space) || vocabulary_.bytes_of_id[static_cast<size_t>(space)] != " ") return false;
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const int id = byte_ids_[byte];
    if (!processor_.IsByte(id) ||
        vocabulary_.bytes_of_id[static_cast<size_t>(id)] != std::string(1, static_cast<char>(byte)))
      return false;
  }
  for (int id = 0; id < processor_.GetPieceSize(); ++id) {
    if (!processor_.IsControl(id) && !processor_.IsUnknown(id)) continue;
    const std::string& piece = processor_.IdToPiece(id);
    if (!piece.empty() && first_utf8_sequence(piece).length == piece.size())
      return false;  // a single character
  }
  return true;
}

// Byte-pair encoding merges neighbours whose concatenation is a piece. Where no piece spans a place of the
// text, nothing merges across it, and what stands before it has no influence on what follows.
void SentencePieceModel::find_safe_cuts() {
  bool newline_leads = false;      // a piece has something after '\n'
  bool space_follows = false;      // a piece has a space after something that is not a space
  bool has_unused_pieces = false;  // how these are split again depends on the whole text
  for (int id = 0; id < processor_.GetPieceSize(); ++id) {
    has_unused_pieces |= processor_.IsUnused(id);
    const std::string& bytes = vocabulary_.bytes_of_id[static_cast<size_t>(id)];
    for (size_t i = 1; i < bytes.size(); ++i) {
      newline_leads |= bytes[i - 1] == '\n';
      space_follows |= bytes[i] == ' ' && bytes[i - 1] != ' ';
    }
  }
  if (!traits_.is_bpe || !traits_.is_identity_after_prefix() || has_unused_pieces) return;
  // Without byte fallback neighbouring unknown characters become one token: one side of the cut must be
  // known.
  const auto is_known = [&](std::string_view piece) {
    return !processor_.IsUnknown(processor_.PieceToId(piece));
  };
  can_cut_after_newline_ = !newline_leads && (traits_.has_byte_fallback || is_known("\n"));
  can_cut_before_space_ = !space_follows && (traits_.has_byte_fallback || is_known(kSpaceSymbol));
}

void SentencePieceModel::load_processor_of_rest(const std::string& serialized) {
  if (!traits_.adds_dummy_prefix || traits_.has_spaces_as_suffix) return;
  const auto status = processor_of_rest_.emplace().LoadFromSerializedProto(without_dummy_prefix(serialized));
  if (status.ok()) return;
  // A model may hold examples of its own ids that it is tested with as it is loaded.
  processor_of_rest_.reset();
  can_cut_after_newline_ = can_cut_before_space_ = false;
}

bool SentencePieceModel::is_safe_cut(char before, char after) const {
  return (can_cut_after_newline_ && before == '\n') ||
         (can_cut_before_space_ && after == ' ' && before != ' ');
}

size_t SentencePieceModel::safe_cut(std::string_view text, size_t limit) const {
  if (limit >= text.size() || (!can_cut_after_newline_ && !can_cut_before_space_)) return text.size();
  for (size_t cut = limit; cut > 0; --cut)
    if (is_safe_cut(text[cut - 1], text[cut])) return cut;
  return text.size();
}

/// The text up to the first safe cut.
std::string_view SentencePieceModel::next_word(std::string_view text) const {
  for (size_t cut = 1; cut < text.size(); ++cut)
    if (is_safe_cut(text[cut - 1], text[cut])) return text.substr(0, cut);
  return text;
}

/// Word by word where cuts are safe: each is looked up, and merged by SentencePiece when it is new. (Merging
/// takes longer a byte the longer the text, so long texts gain even where words do not repeat.)
void SentencePieceModel::encode_piecewise(std::string_view text, bool goes_on,
                                          std::vector<int32_t>& ids) const {
  WordCache& cache = cache_.of_thread();
  std::vector<int> new_ids;
  const bool cuts = can_cut_after_newline_ || can_cut_before_space_;
  bool is_start = !goes_on;
  while (!text.empty()) {
    const std::string_view word = cuts ? next_word(text) : text;
    text.remove_prefix(word.size());
    const bool has_prefix = std::exchange(is_start, false) && traits_.adds_dummy_prefix;
    const bool is_cached = cuts && !has_prefix && word.size() <= kMostWordBytes;
    const std::span<const int32_t> known = is_cached ? cache.find(word) : std::span<const int32_t>();
    if (!known.empty()) {
      ids.insert(ids.end(), known.begin(), known.end());
      continue;
    }
    // Where extra spaces are removed, so is the one at the front, and the prefix brings it back.
    const bool has_own_space = traits_.removes_extra_spaces && word.front() == ' ';
    const bool is_rest = processor_of_rest_ && !has_prefix && !has_own_space;
    const auto status = (is_rest ? *processor_of_rest_ : processor_).Encode(word, &new_ids);
    if (!status.ok()) fail_run("tokenizer", "cannot encode a text: " + std::string(status.message()));
    ids.insert(ids.end(), new_ids.begin(), new_ids.end());
    if (is_cached && !new_ids.empty()) cache.keep(word, new_ids);
  }
}

void SentencePieceModel::encode_plain(std::string_view text, bool goes_on, std::vector<int32_t>& ids,
                                      TextFaults& faults) const {
  const size_t before = ids.size();
  encode_piecewise(text, goes_on, ids);
  if (!vocabulary_.is_lossless)
    faults.unknown_tokens +=
        std::count(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), processor_.unk_id());
}

void SentencePieceModel::encode_special(std::string_view special, std::vector<int32_t>& ids,
                                        TextFaults& faults) const {
  if (special == std::string_view("\0", 1))
    ++faults.nul_bytes;
  else if (special != kSpaceSymbol)
    ++faults.invalid_utf8_bytes;
  const auto has_piece = [&](char byte) {
    return processor_.IsByte(byte_ids_[static_cast<unsigned char>(byte)]);
  };
  if (!traits_.has_byte_fallback || !std::all_of(special.begin(), special.end(), has_piece)) {
    ++faults.unknown_tokens;
    ids.push_back(processor_.unk_id());
    return;
  }
  for (const char byte : special) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
}

void SentencePieceModel::encode(std::string_view text, bool goes_on, std::vector<int32_t>& ids,
                                TextFaults& faults) const {
  for (; !text.empty(); goes_on = true) {
    const size_t plain = plain_prefix(text);
    encode_plain(text.substr(0, plain), goes_on, ids, faults);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const std::string_view special = special_prefix(text);
    encode_special(special, ids, faults);
    text.remove_prefix(special.size());
  }
}

SentencePieceModel::SentencePieceModel(const std::string& serialized, const std::string& where) {
  constexpr const char* kRemedy =
      "give a file such as gca tokenize writes (tokenizer.model), or a tokenizer.json";
  if (has_impossible_piece(serialized)) fail_usage(where, "contains a piece that is not text", kRemedy);
  const auto status = processor_.LoadFromSerializedProto(serialized);
  if (!status.ok()) fail_usage(where, "is not a SentencePiece model", kRemedy);
  traits_ = read_model_traits(serialized);
  load_pieces();
  vocabulary_.is_lossless = keeps_every_text();
  vocabulary_.start_id = processor_.bos_id();
  vocabulary_.end_id = processor_.eos_id();
  vocabulary_.unknown_id = vocabulary_.is_lossless ? -1 : processor_.unk_id();
  find_safe_cuts();
  load_processor_of_rest(serialized);
}

}  // namespace

std::unique_ptr<const TokenizerModel> open_sentencepiece_model(const std::string& serialized,
                                                               const std::string& where) {
  return std::make_unique<SentencePieceModel>(serialized, where);
}

}  // namespace gca::text
