#include "lib/text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <future>
#include <optional>
#include <utility>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/utf8.h"
#include "lib/text/forced_cut.h"
#include "lib/text/model_proto.h"
#include "lib/text/plain_text.h"
#include "lib/text/word_cache.h"

namespace gca::text {
namespace {

/// Text per task of encode_parallel().
constexpr size_t kBlockBytes = size_t{1} << 16;
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

}  // namespace

TextFaults& TextFaults::operator+=(const TextFaults& other) {
  nul_bytes += other.nul_bytes;
  invalid_utf8_bytes += other.invalid_utf8_bytes;
  unknown_tokens += other.unknown_tokens;
  return *this;
}

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  /// Without the dummy prefix: what follows a cut. Only for a model that has one.
  std::optional<sentencepiece::SentencePieceProcessor> processor_of_rest;
  std::string serialized;
  std::string fingerprint;
  ModelTraits traits;
  std::vector<std::string> bytes_of_piece;  ///< (V), the landmark's empty
  std::array<int32_t, 256> byte_ids = {};   ///< with byte fallback
  bool is_lossless = false;
  bool can_cut_after_newline = false;
  bool can_cut_before_space = false;
  uint64_t number = 0;  ///< of this tokenizer in the process: thread caches belong to one

  void load_pieces();
  bool keeps_every_text() const;
  void find_safe_cuts();
  void load_processor_of_rest();
  bool is_safe_cut(char before, char after) const;
  size_t safe_cut(std::string_view text, size_t limit) const;
  std::vector<std::string_view> cut_into_blocks(std::string_view text) const;
  std::string_view next_word(std::string_view text) const;
  WordCache& cache_of_thread() const;
  void encode_piecewise(std::string_view text, bool goes_on, std::vector<int32_t>& ids) const;
  void encode_plain(std::string_view text, bool goes_on, std::vector<int32_t>& ids, TextFaults& faults) const;
  void encode_special(std::string_view special, std::vector<int32_t>& ids, TextFaults& faults) const;
  void encode(std::string_view text, bool goes_on, std::vector<int32_t>& ids, TextFaults& faults) const;
};

void Tokenizer::Impl::load_pieces() {
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string& piece = processor.IdToPiece(id);
    std::string bytes;
    if (processor.IsByte(id)) {
      unsigned byte = 0;
      std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);  // "<0x" before, ">" behind
      byte_ids[byte & 0xFF] = id;
      bytes = static_cast<char>(byte);
    } else if (processor.IsUnknown(id)) {
      bytes = kReplacementCharacter;
    } else if (!processor.IsControl(id)) {
      bytes = unescape_spaces(piece);
    }
    bytes_of_piece.push_back(std::move(bytes));
  }
  bytes_of_piece.emplace_back();  // the landmark
}

/// Whether decode() gives every text back. A model file may promise byte fallback and lack a piece that it
/// takes: one of the bytes, or the one that stands for a space; or call a character a control piece, which
/// has no text.
bool Tokenizer::Impl::keeps_every_text() const {
  if (!traits.is_identity() || !traits.has_byte_fallback) return false;
  const int space = processor.PieceToId(kSpaceSymbol);
  if (processor.IsUnknown(space) || bytes_of_piece[static_cast<size_t>(space)] != " ") return false;
  for (size_t byte = 0; byte < byte_ids.size(); ++byte) {
    const int id = byte_ids[byte];
    if (!processor.IsByte(id) ||
        bytes_of_piece[static_cast<size_t>(id)] != std::string(1, static_cast<char>(byte)))
      return false;
  }
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    if (!processor.IsControl(id) && !processor.IsUnknown(id)) continue;
    const std::string& piece = processor.IdToPiece(id);
    if (!piece.empty() && first_utf8_sequence(piece).length == piece.size())
      return false;  // a single character
  }
  return true;
}

// Byte-pair encoding merges neighbours whose concatenation is a piece. Where no piece spans a place of the
// text, nothing merges across it, and what stands before it has no influence on what follows.
void Tokenizer::Impl::find_safe_cuts() {
  bool newline_leads = false;      // a piece has something after '\n'
  bool space_follows = false;      // a piece has a space after something that is not a space
  bool has_unused_pieces = false;  // how these are split again depends on the whole text
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    has_unused_pieces |= processor.IsUnused(id);
    const std::string& bytes = bytes_of_piece[static_cast<size_t>(id)];
    for (size_t i = 1; i < bytes.size(); ++i) {
      newline_leads |= bytes[i - 1] == '\n';
      space_follows |= bytes[i] == ' ' && bytes[i - 1] != ' ';
    }
  }
  if (!traits.is_bpe || !traits.is_identity_after_prefix() || has_unused_pieces) return;
  // Without byte fallback neighbouring unknown characters become one token: one side of the cut must be known.
  const auto is_known = [&](std::string_view piece) {
    return !processor.IsUnknown(processor.PieceToId(piece));
  };
  can_cut_after_newline = !newline_leads && (traits.has_byte_fallback || is_known("\n"));
  can_cut_before_space = !space_follows && (traits.has_byte_fallback || is_known(kSpaceSymbol));
}

void Tokenizer::Impl::load_processor_of_rest() {
  if (!traits.adds_dummy_prefix || traits.has_spaces_as_suffix) return;
  const auto status = processor_of_rest.emplace().LoadFromSerializedProto(without_dummy_prefix(serialized));
  if (status.ok()) return;
  // A model may hold examples of its own ids that it is tested with as it is loaded.
  processor_of_rest.reset();
  can_cut_after_newline = can_cut_before_space = false;
}

bool Tokenizer::Impl::is_safe_cut(char before, char after) const {
  return (can_cut_after_newline && before == '\n') || (can_cut_before_space && after == ' ' && before != ' ');
}

size_t Tokenizer::Impl::safe_cut(std::string_view text, size_t limit) const {
  if (limit >= text.size() || (!can_cut_after_newline && !can_cut_before_space)) return text.size();
  for (size_t cut = limit; cut > 0; --cut)
    if (is_safe_cut(text[cut - 1], text[cut])) return cut;
  return text.size();
}

/// Blocks of about kBlockBytes; larger where no safe cut is nearer.
std::vector<std::string_view> Tokenizer::Impl::cut_into_blocks(std::string_view text) const {
  std::vector<std::string_view> blocks;
  size_t limit = kBlockBytes;
  while (!text.empty()) {
    size_t cut = safe_cut(text, limit);
    if (cut == text.size() && limit < text.size() && limit < kMostBytesAtOnce) {
      limit *= 2;
      continue;
    }
    if (cut > kMostBytesAtOnce) cut = forced_cut(text.substr(0, kMostBytesAtOnce));
    blocks.push_back(text.substr(0, cut));
    text.remove_prefix(cut);
    limit = kBlockBytes;
  }
  return blocks;
}

/// The text up to the first safe cut.
std::string_view Tokenizer::Impl::next_word(std::string_view text) const {
  for (size_t cut = 1; cut < text.size(); ++cut)
    if (is_safe_cut(text[cut - 1], text[cut])) return text.substr(0, cut);
  return text;
}

WordCache& Tokenizer::Impl::cache_of_thread() const {
  thread_local WordCache cache;
  thread_local uint64_t owner = 0;
  if (owner != number) {
    cache = WordCache();
    owner = number;
  }
  return cache;
}

/// Word by word where cuts are safe: each is looked up, and merged by SentencePiece when it is new. (Merging
/// takes longer a byte the longer the text, so long texts gain even where words do not repeat.)
void Tokenizer::Impl::encode_piecewise(std::string_view text, bool goes_on, std::vector<int32_t>& ids) const {
  WordCache& cache = cache_of_thread();
  std::vector<int> new_ids;
  const bool cuts = can_cut_after_newline || can_cut_before_space;
  bool is_start = !goes_on;
  while (!text.empty()) {
    const std::string_view word = cuts ? next_word(text) : text;
    text.remove_prefix(word.size());
    const bool has_prefix = std::exchange(is_start, false) && traits.adds_dummy_prefix;
    const bool is_cached = cuts && !has_prefix && word.size() <= kMostWordBytes;
    const std::span<const int32_t> known = is_cached ? cache.find(word) : std::span<const int32_t>();
    if (!known.empty()) {
      ids.insert(ids.end(), known.begin(), known.end());
      continue;
    }
    // Where extra spaces are removed, so is the one at the front, and the prefix brings it back.
    const bool has_own_space = traits.removes_extra_spaces && word.front() == ' ';
    const bool is_rest = processor_of_rest && !has_prefix && !has_own_space;
    const auto status = (is_rest ? *processor_of_rest : processor).Encode(word, &new_ids);
    if (!status.ok()) fail_run("tokenizer", "cannot encode a text: " + std::string(status.message()));
    ids.insert(ids.end(), new_ids.begin(), new_ids.end());
    if (is_cached && !new_ids.empty()) cache.keep(word, new_ids);
  }
}

void Tokenizer::Impl::encode_plain(std::string_view text, bool goes_on, std::vector<int32_t>& ids,
                                   TextFaults& faults) const {
  const size_t before = ids.size();
  encode_piecewise(text, goes_on, ids);
  if (!is_lossless)
    faults.unknown_tokens +=
        std::count(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), processor.unk_id());
}

void Tokenizer::Impl::encode_special(std::string_view special, std::vector<int32_t>& ids,
                                     TextFaults& faults) const {
  if (special == std::string_view("\0", 1))
    ++faults.nul_bytes;
  else if (special != kSpaceSymbol)
    ++faults.invalid_utf8_bytes;
  const auto has_piece = [&](char byte) {
    return processor.IsByte(byte_ids[static_cast<unsigned char>(byte)]);
  };
  if (!traits.has_byte_fallback || !std::all_of(special.begin(), special.end(), has_piece)) {
    ++faults.unknown_tokens;
    ids.push_back(processor.unk_id());
    return;
  }
  for (const char byte : special) ids.push_back(byte_ids[static_cast<unsigned char>(byte)]);
}

void Tokenizer::Impl::encode(std::string_view text, bool goes_on, std::vector<int32_t>& ids,
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

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& path) {
  return from_serialized(read_file(path), path);
}

Tokenizer Tokenizer::from_serialized(std::string model, const std::string& where) {
  constexpr const char* kRemedy = "give a file such as gca tokenize writes (tokenizer.model)";
  auto impl = std::make_unique<Impl>();
  if (has_impossible_piece(model)) fail_usage(where, "contains a piece that is not text", kRemedy);
  const auto status = impl->processor.LoadFromSerializedProto(model);
  if (!status.ok()) fail_usage(where, "is not a SentencePiece model", kRemedy);
  impl->fingerprint = sha256_hex(model);
  impl->traits = read_model_traits(model);
  impl->serialized = std::move(model);
  impl->load_pieces();
  impl->is_lossless = impl->keeps_every_text();
  impl->find_safe_cuts();
  impl->load_processor_of_rest();
  static std::atomic<uint64_t> tokenizers{0};
  impl->number = ++tokenizers;
  return Tokenizer(std::move(impl));
}

int64_t Tokenizer::piece_count() const {
  return impl_->processor.GetPieceSize();
}

int32_t Tokenizer::end_id() const {
  return impl_->processor.eos_id();
}

const std::string& Tokenizer::fingerprint() const {
  return impl_->fingerprint;
}

const std::string& Tokenizer::serialized() const {
  return impl_->serialized;
}

bool Tokenizer::is_lossless() const {
  return impl_->is_lossless;
}

int32_t Tokenizer::unknown_id() const {
  return impl_->is_lossless ? -1 : impl_->processor.unk_id();
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, TextFaults* faults, bool goes_on) const {
  std::vector<int32_t> ids;
  TextFaults found;
  impl_->encode(text, goes_on, ids, found);
  if (faults != nullptr) *faults += found;
  return ids;
}

std::vector<int32_t> Tokenizer::encode_parallel(std::string_view text, int threads,
                                                TextFaults* faults) const {
  const std::vector<std::string_view> blocks = impl_->cut_into_blocks(text);
  std::vector<std::vector<int32_t>> block_ids(blocks.size());
  std::vector<TextFaults> block_faults(blocks.size());
  std::atomic<size_t> next_block = 0;
  const auto encode_blocks = [&] {
    for (size_t i = next_block++; i < blocks.size(); i = next_block++)
      impl_->encode(blocks[i], /*goes_on=*/i > 0, block_ids[i], block_faults[i]);
  };

  std::vector<std::future<void>> helpers;
  for (size_t i = 1; i < std::min(blocks.size(), static_cast<size_t>(std::max(threads, 1))); ++i)
    helpers.push_back(std::async(std::launch::async, encode_blocks));
  encode_blocks();
  for (auto& helper : helpers) helper.get();

  std::vector<int32_t> ids;
  for (size_t i = 0; i < blocks.size(); ++i) {
    ids.insert(ids.end(), block_ids[i].begin(), block_ids[i].end());
    if (faults != nullptr) *faults += block_faults[i];
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    if (id < 0 || id > landmark_id())
      fail_usage("token id " + std::to_string(id),
                 "the tokenizer has ids from 0 to " + std::to_string(landmark_id()),
                 "use the tokenizer that wrote these ids");
    text += impl_->bytes_of_piece[static_cast<size_t>(id)];
  }
  return text;
}

int64_t Tokenizer::piece_bytes(int32_t id) const {
  return static_cast<int64_t>(impl_->bytes_of_piece.at(static_cast<size_t>(id)).size());
}

std::vector<int32_t> Tokenizer::piece_bytes_table() const {
  std::vector<int32_t> table;
  for (const std::string& bytes : impl_->bytes_of_piece) table.push_back(static_cast<int32_t>(bytes.size()));
  return table;
}

size_t Tokenizer::safe_cut(std::string_view text, size_t limit) const {
  return impl_->safe_cut(text, limit);
}

}  // namespace gca::text
