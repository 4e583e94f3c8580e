// Byte-level BPE (tokenizer.json): added tokens are cut out, the rest is normalised and cut into pieces by
// patterns, and the bytes of each piece are merged.

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>

#include "lib/core/error.h"
#include "lib/core/utf8.h"
#include "lib/text/byte_level_bpe/added_tokens.h"
#include "lib/text/byte_level_bpe/byte_alphabet.h"
#include "lib/text/byte_level_bpe/merge_table.h"
#include "lib/text/byte_level_bpe/nfc.h"
#include "lib/text/byte_level_bpe/split_pattern.h"
#include "lib/text/byte_level_bpe/tokenizer_json.h"
#include "lib/text/tokenizer_model.h"
#include "lib/text/word_cache.h"

namespace gca::text {
namespace {

constexpr const char* kDamaged = "the file is damaged: copy it again";
/// What is looked up as a word; longer pieces hardly repeat.
constexpr size_t kMostWordBytes = 64;
/// How far beyond its limit safe_cut() looks for the end of a piece.
constexpr size_t kLookAheadBytes = 4096;
/// Most patterns allow the first or the second cut that is tried.
constexpr int kMostCutTrials = 16;
/// A file does not say which token ends a text. These names are in use for it; the first that is a special
/// token of the file counts.
constexpr const char* kEndNames[] = {"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>"};

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

class ByteLevelBpe : public TokenizerModel {
 public:
  ByteLevelBpe(const TokenizerJson& file, const std::string& where);
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  void encode(std::string_view text, bool goes_on, std::vector<int32_t>& ids,
              TextFaults& faults) const override;
  size_t safe_cut(std::string_view text, size_t limit) const override;

 private:
  using IdsByText = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

  /// Where a text may be cut at the border of a piece without changing any token on either side.
  struct Cuts {
    bool inside = true;  ///< at borders within a stretch
    bool at_end = true;  ///< at its end
  };

  /// What a visitor tells of a text.
  struct Part {
    size_t size_bytes = 0;
    int32_t id = -1;
    bool operator==(const Part&) const = default;
  };

  void take_ids(const TokenizerJson& file, const IdsByText& ids, const std::string& where);
  void take_merges(const TokenizerJson& file, const IdsByText& ids, const std::string& where);
  void take_bytes(const TokenizerJson& file, const IdsByText& ids, const std::string& where);
  void take_added_tokens(const TokenizerJson& file);

  template <class Sink>
  bool visit(std::string_view text, bool is_open, const Sink& sink) const;
  template <class Sink>
  bool visit_normalized(std::string_view text, bool is_open, const Sink& sink) const;
  template <class Sink>
  bool visit_plain(std::string_view text, bool is_open, const Sink& sink) const;
  template <class Sink>
  bool visit_step(std::string_view text, size_t step, bool is_open, Cuts cuts, const Sink& sink) const;

  void encode_piece(std::string_view piece, std::vector<int32_t>& ids, TextFaults& faults) const;
  bool consists_of(std::string_view text, std::span<const Part> parts) const;

  Vocabulary vocabulary_;
  std::array<int32_t, 256> byte_ids_ = {};  ///< -1: the byte has no token
  IdsByText whole_pieces_;                  ///< with ignore_merges: bytes of every token
  MergeTable merges_;
  AddedTokens added_to_original_;
  AddedTokens added_to_normalized_;
  bool normalizes_nfc_ = false;
  std::vector<SplitPattern> patterns_;
  ThreadWordCache cache_;
};

ByteLevelBpe::ByteLevelBpe(const TokenizerJson& file, const std::string& where)
    : normalizes_nfc_(file.normalizes_nfc) {
  const IdsByText ids(file.vocab.begin(), file.vocab.end());
  take_ids(file, ids, where);
  take_merges(file, ids, where);
  take_bytes(file, ids, where);
  take_added_tokens(file);
  for (const std::string& pattern : file.split_patterns) patterns_.emplace_back(pattern, where);

  const bool has_special = std::any_of(file.added_tokens.begin(), file.added_tokens.end(),
                                       [](const AddedToken& token) { return token.is_special; });
  const bool has_every_byte = std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
  vocabulary_.is_lossless = has_every_byte && !has_special && !normalizes_nfc_;
}

/// What each id stands for; ids must be about as many as there are tokens.
void ByteLevelBpe::take_ids(const TokenizerJson& file, const IdsByText& ids, const std::string& where) {
  const size_t most_ids = 2 * (file.vocab.size() + file.added_tokens.size()) + 1024;
  std::vector<std::optional<std::string>> bytes_of_id;
  const auto put = [&](int32_t id, const std::string& token, std::string bytes) {
    const auto place = static_cast<size_t>(id);
    if (place >= most_ids)
      fail_usage(where,
                 "the token \"" + token + "\" has the id " + std::to_string(id) + " in a vocabulary of " +
                     std::to_string(file.vocab.size()) + " tokens",
                 kDamaged);
    if (place >= bytes_of_id.size()) bytes_of_id.resize(place + 1);
    if (bytes_of_id[place])
      fail_usage(where, "the id " + std::to_string(id) + " has two tokens, one of them \"" + token + "\"",
                 kDamaged);
    bytes_of_id[place] = std::move(bytes);
  };
  for (const auto& [token, id] : file.vocab) put(id, token, bytes_of_token(token).value_or(token));
  for (const AddedToken& token : file.added_tokens) {
    const auto known = ids.find(token.text);
    if (known != ids.end() && known->second != token.id)
      fail_usage(where, "the added token \"" + token.text + "\" has another id in the vocabulary", kDamaged);
    if (known != ids.end()) bytes_of_id[static_cast<size_t>(token.id)].reset();
    put(token.id, token.text, token.is_special ? "" : token.text);
  }
  for (std::optional<std::string>& bytes : bytes_of_id)
    vocabulary_.bytes_of_id.push_back(std::move(bytes).value_or(""));
  for (const int32_t id : file.prefix_ids)
    if (static_cast<size_t>(id) >= bytes_of_id.size())
      fail_usage(where,
                 "post_processor: the template names the id " + std::to_string(id) + ", which has no token",
                 kDamaged);
  vocabulary_.prefix_ids = file.prefix_ids;
  if (!file.prefix_ids.empty()) vocabulary_.start_id = file.prefix_ids.front();
}

void ByteLevelBpe::take_merges(const TokenizerJson& file, const IdsByText& ids, const std::string& where) {
  const auto id_of = [&](const std::string& token) {
    const auto found = ids.find(token);
    if (found == ids.end())
      fail_usage(where, "model: a merge has the token \"" + token + "\", which is not in the vocabulary",
                 kDamaged);
    return found->second;
  };
  int32_t rank = 0;
  for (const auto& [left, right] : file.merges)
    merges_.add(id_of(left), id_of(right), rank++, id_of(left + right));
}

void ByteLevelBpe::take_bytes(const TokenizerJson& file, const IdsByText& ids, const std::string& where) {
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto found = ids.find(byte_characters()[byte]);
    byte_ids_[byte] = found == ids.end() ? -1 : found->second;
  }
  if (!file.unknown_token.empty()) {
    const auto found = ids.find(file.unknown_token);
    if (found == ids.end())
      fail_usage(where, "model: unk_token \"" + file.unknown_token + "\" is not in the vocabulary", kDamaged);
    const bool lacks_bytes = std::find(byte_ids_.begin(), byte_ids_.end(), -1) != byte_ids_.end();
    if (lacks_bytes) vocabulary_.unknown_id = found->second;
  }
  if (!file.ignores_merges) return;
  for (const auto& [token, id] : file.vocab)
    if (auto bytes = bytes_of_token(token); bytes && !bytes->empty())
      whole_pieces_.emplace(*std::move(bytes), id);
}

void ByteLevelBpe::take_added_tokens(const TokenizerJson& file) {
  std::vector<std::pair<std::string, int32_t>> original, normalized;
  for (const AddedToken& token : file.added_tokens) {
    if (!token.is_normalized)
      original.emplace_back(token.text, token.id);
    else
      normalized.emplace_back(normalizes_nfc_ ? NfcText(token.text).text() : token.text, token.id);
  }
  added_to_original_ = AddedTokens(std::move(original));
  added_to_normalized_ = AddedTokens(std::move(normalized));
  for (const char* name : kEndNames)
    for (const AddedToken& token : file.added_tokens)
      if (token.is_special && token.text == name && vocabulary_.end_id < 0) vocabulary_.end_id = token.id;
}

// The visitors call sink(bytes, id, cut) for the parts of a text in their order: a piece whose bytes are to
// be merged (id -1), or an added token. `cut` is the place behind the part where the text is encoded the same
// without what is before it, or null. Visitors stop and return false as soon as the sink does, and where a
// text that is open (it may go on) does not tell what comes next.

/// Calls plain(part, is_open) for what is between the added tokens.
template <class Plain, class Sink>
bool visit_added_tokens(const AddedTokens& tokens, std::string_view text, bool is_open, const Plain& plain,
                        const Sink& sink) {
  while (true) {
    const size_t known = is_open ? tokens.open_tail(text) : text.size();
    const AddedTokens::Match match = tokens.find(text, 0);
    if (match.id < 0 || match.begin >= known) return plain(text.substr(0, known), is_open);
    const char* end = text.data() + match.end;
    if (!plain(text.substr(0, match.begin), false)) return false;
    if (!sink(text.substr(match.begin, match.end - match.begin), match.id, end)) return false;
    text.remove_prefix(match.end);
  }
}

/// A text as it is given.
template <class Sink>
bool ByteLevelBpe::visit(std::string_view text, bool is_open, const Sink& sink) const {
  const auto normalize = [&](std::string_view part, bool part_is_open) {
    if (!normalizes_nfc_) return visit_normalized(part, part_is_open, sink);
    if (part_is_open) part = part.substr(0, nfc_stable_prefix(part));
    const NfcText normalized(part);
    const auto sink_of_original = [&](std::string_view bytes, int32_t id, const char* cut) {
      if (cut != nullptr) {
        const auto place = normalized.place_in_original(static_cast<size_t>(cut - normalized.text().data()));
        cut = place ? part.data() + *place : nullptr;
      }
      return sink(bytes, id, cut);
    };
    return visit_normalized(normalized.text(), part_is_open, sink_of_original);
  };
  return visit_added_tokens(added_to_original_, text, is_open, normalize, sink);
}

template <class Sink>
bool ByteLevelBpe::visit_normalized(std::string_view text, bool is_open, const Sink& sink) const {
  const auto plain = [&](std::string_view part, bool part_is_open) {
    return visit_plain(part, part_is_open, sink);
  };
  return visit_added_tokens(added_to_normalized_, text, is_open, plain, sink);
}

/// A text without added tokens: bytes outside of UTF-8 are pieces of their own.
template <class Sink>
bool ByteLevelBpe::visit_plain(std::string_view text, bool is_open, const Sink& sink) const {
  if (is_open) text = text.substr(0, complete_utf8_prefix(text));
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    if (!visit_step(text.substr(0, valid), 0, is_open && valid == text.size(), Cuts(), sink)) return false;
    text.remove_prefix(valid);
    if (text.empty()) break;
    if (!sink(text.substr(0, 1), -1, text.data() + 1)) return false;
    text.remove_prefix(1);
  }
  return true;
}

/// A stretch of valid UTF-8, cut by the patterns from `step` on. What a pattern matches is a piece, and what
/// is between two matches another.
template <class Sink>
bool ByteLevelBpe::visit_step(std::string_view text, size_t step, bool is_open, Cuts cuts,
                              const Sink& sink) const {
  if (text.empty()) return true;
  if (step == patterns_.size())
    return !is_open && sink(text, -1, cuts.at_end ? text.data() + text.size() : nullptr);
  const SplitPattern& pattern = patterns_[step];
  // A search that begins at a border between pieces, or between two matches, finds the same; one that begins
  // within a match need not.
  const bool can_cut = cuts.inside && pattern.can_restart();
  size_t done = 0;  // end of the last match
  size_t from = 0;
  bool has_matched = false;
  while (from < text.size()) {
    const SplitPattern::Match match = pattern.find(text, from, is_open);
    if (match.result == SplitPattern::Result::none) break;
    if (match.result == SplitPattern::Result::unknown) {
      visit_step(text.substr(done, match.begin - done), step + 1, /*is_open=*/true, {can_cut, can_cut}, sink);
      return false;
    }
    // As the library does: an empty match directly behind a match is none.
    if (match.begin == match.end && has_matched && match.end == done) {
      from += first_utf8_sequence(text.substr(from)).length;
      continue;
    }
    const bool is_last = match.end == text.size();
    if (!visit_step(text.substr(done, match.begin - done), step + 1, false, {can_cut, can_cut}, sink))
      return false;
    if (!visit_step(text.substr(match.begin, match.end - match.begin), step + 1, false,
                    {false, is_last ? cuts.at_end : can_cut}, sink))
      return false;
    done = from = match.end;
    has_matched = true;
  }
  return visit_step(text.substr(done), step + 1, is_open, {can_cut, cuts.at_end}, sink);
}

void ByteLevelBpe::encode(std::string_view text, bool /*goes_on*/, std::vector<int32_t>& ids,
                          TextFaults& faults) const {
  faults.nul_bytes += std::count(text.begin(), text.end(), '\0');
  visit(text, /*is_open=*/false, [&](std::string_view bytes, int32_t id, const char* /*cut*/) {
    if (id >= 0)
      ids.push_back(id);
    else
      encode_piece(bytes, ids, faults);
    return true;
  });
}

void ByteLevelBpe::encode_piece(std::string_view piece, std::vector<int32_t>& ids, TextFaults& faults) const {
  if (piece.size() == 1 && static_cast<unsigned char>(piece[0]) >= 0x80) ++faults.invalid_utf8_bytes;
  WordCache& cache = cache_.of_thread();
  const bool is_word = piece.size() <= kMostWordBytes;
  if (const auto known = is_word ? cache.find(piece) : std::span<const int32_t>(); !known.empty()) {
    ids.insert(ids.end(), known.begin(), known.end());
    return;
  }
  std::vector<int32_t> tokens;
  const int64_t unknown_before = faults.unknown_tokens;
  if (const auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
    tokens.push_back(whole->second);
  } else {
    for (const char byte : piece) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
      if (id < 0) ++faults.unknown_tokens;
      if (id >= 0 || vocabulary_.unknown_id >= 0) tokens.push_back(id >= 0 ? id : vocabulary_.unknown_id);
    }
    merges_.merge(tokens);
  }
  ids.insert(ids.end(), tokens.begin(), tokens.end());
  // What is lost is counted each time, so it is not kept.
  if (is_word && faults.unknown_tokens == unknown_before) cache.keep(piece, tokens);
}

/// Where the text behind a cut is encoded the same without what is before it, the visitors tell. The text
/// before the cut, whose patterns may look at what is behind it, is tried without it.
size_t ByteLevelBpe::safe_cut(std::string_view text, size_t limit) const {
  const std::string_view known = text.substr(0, std::min(text.size(), limit + kLookAheadBytes));
  std::vector<Part> parts;
  struct Candidate {
    size_t place;
    size_t parts_before;
  };
  std::vector<Candidate> candidates;
  visit(known, /*is_open=*/true, [&](std::string_view bytes, int32_t id, const char* cut) {
    parts.push_back({bytes.size(), id});
    const auto place = cut == nullptr ? 0 : static_cast<size_t>(cut - text.data());
    if (place > 0 && place <= limit) candidates.push_back({place, parts.size()});
    return place < limit;
  });
  for (int trial = 0; trial < kMostCutTrials && !candidates.empty(); ++trial, candidates.pop_back()) {
    const Candidate& last = candidates.back();
    if (consists_of(text.substr(0, last.place), std::span(parts).first(last.parts_before))) return last.place;
  }
  return text.size();
}

bool ByteLevelBpe::consists_of(std::string_view text, std::span<const Part> parts) const {
  size_t seen = 0;
  const bool is_alike =
      visit(text, /*is_open=*/false, [&](std::string_view bytes, int32_t id, const char* /*cut*/) {
        return seen < parts.size() && parts[seen++] == Part{bytes.size(), id};
      });
  return is_alike && seen == parts.size();
}

}  // namespace

std::unique_ptr<const TokenizerModel> open_byte_level_bpe(const std::string& serialized,
                                                          const std::string& where) {
  return std::make_unique<ByteLevelBpe>(parse_tokenizer_json(serialized, where), where);
}

}  // namespace gca::text
