#pragma once
// SentencePiece with an exact inverse: decode(encode(x)) == x for every string of bytes when the model
// is_lossless(), as those are that gca trains (byte fallback, identity normalisation, no dummy prefix,
// newline a piece of its own). On valid UTF-8 without '\0' and U+2581 the ids are SentencePiece's own; these
// three become byte pieces.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/sources/source_options.h"

namespace gca::text {

/// What had to be worked around in a text; reported, never fatal.
struct TextFaults {
  int64_t nul_bytes = 0;           ///< '\0', encoded as a byte piece
  int64_t invalid_utf8_bytes = 0;  ///< bytes outside any valid UTF-8 sequence, encoded as byte pieces
  int64_t unknown_tokens = 0;      ///< lost: only with a model that is not lossless
  TextFaults& operator+=(const TextFaults& other);
};

/// Immutable after construction; encode and decode may be called from several threads.
class Tokenizer {
 public:
  /// Throws Error(usage) when the file is missing or no SentencePiece model.
  static Tokenizer load(const std::string& path);
  static Tokenizer from_serialized(std::string model, const std::string& where);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of the SentencePiece model; the landmark is not among them.
  int64_t piece_count() const;
  /// piece_count() + 1: the model's V when the landmark takes the next id.
  int64_t vocab_size_with_landmark() const { return piece_count() + 1; }
  int64_t landmark_id() const { return piece_count(); }
  /// The control piece that ends a text (SentencePiece's eos, "</s>"); -1 where the model has none.
  int32_t end_id() const;
  /// SHA-256 of the model file, hex: shards and checkpoints carry it.
  const std::string& fingerprint() const;
  const std::string& serialized() const;
  /// Byte fallback without a gap and no normalisation: decode() gives every text back.
  bool is_lossless() const;
  /// The id that stands for text that is lost; -1 where none is, as the model is_lossless().
  int32_t unknown_id() const;

  /// `goes_on`: the text goes on where a safe cut ended the one before, so that a model with a dummy prefix
  /// puts no space before it.
  std::vector<int32_t> encode(std::string_view text, TextFaults* faults = nullptr,
                              bool goes_on = false) const;
  /// Same ids as encode(text), with `threads` threads: the text is cut only where no piece can span the cut.
  std::vector<int32_t> encode_parallel(std::string_view text, int threads,
                                       TextFaults* faults = nullptr) const;
  /// Bytes of the ids, control pieces and the landmark giving none, the unknown piece U+FFFD. Error(usage)
  /// for an id beyond the landmark's.
  std::string decode(std::span<const int32_t> ids) const;
  /// Bytes of source text that one id stands for (0 for control pieces and the landmark).
  int64_t piece_bytes(int32_t id) const;
  /// Bytes of each id, (V) with the landmark: for bits per byte.
  std::vector<int32_t> piece_bytes_table() const;

  /// The largest prefix of `text`, at most `limit` bytes, after which a cut changes no token (where the rest
  /// is encoded as going on); text.size()
  /// when there is no such place (then look further, or encode the text as a whole) or `limit` does not fall
  /// within the text.
  size_t safe_cut(std::string_view text, size_t limit) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct TokenizerTraining {
  int64_t vocab_size = 0;           ///< pieces, the landmark not counted
  int64_t sample_bytes = 16 << 20;  ///< at most this much text is looked at, spread evenly over the inputs
  uint64_t seed = 0;                ///< where the sample lies
  SourceOptions source = {};        ///< how documents are read
};

/// Trains byte-pair encoding with byte fallback on the documents of files, which are read twice; returns the
/// serialized model. Deterministic. Error(usage) when the text gives fewer pieces than asked for: the message
/// says how many it gives.
std::string train_tokenizer(std::span<const std::string> paths, const TokenizerTraining& training);

}  // namespace gca::text
