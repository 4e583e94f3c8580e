#pragma once
// Text to ids and back, whatever kind of file the tokenizer is: a SentencePiece model (tokenizer.model) or
// byte-level BPE (tokenizer.json). The content tells which, not the name.
//
// decode(encode(x)) == x for every string of bytes when the tokenizer is_lossless(), as those are that gca
// trains (SentencePiece with byte fallback, identity normalisation, no dummy prefix, newline a piece of its
// own). On valid UTF-8 the ids are those of the libraries that the files come from, but for '\0' and U+2581
// in a SentencePiece model, which become byte pieces.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/sources/source_options.h"
#include "lib/text/text_faults.h"

namespace gca::text {

class TokenizerModel;

/// Immutable; encode and decode may be called from several threads. Copies share what they hold.
class Tokenizer {
 public:
  /// Throws Error(usage) when the file is missing, damaged, or has a part that is not supported: the message
  /// names it.
  static Tokenizer load(const std::string& path);
  static Tokenizer from_serialized(std::string serialized, const std::string& where);

  /// Ids of the tokenizer; the landmark is not among them.
  int64_t piece_count() const;
  /// piece_count() + 1: the model's V when the landmark takes the next id.
  int64_t vocab_size_with_landmark() const { return piece_count() + 1; }
  int64_t landmark_id() const { return piece_count(); }
  /// The control token that begins a text (SentencePiece's bos, "<s>"; the first of prefix_ids()); -1 where
  /// the file names none.
  int32_t start_id() const;
  /// The control token that ends a text (SentencePiece's eos, "</s>"; in a tokenizer.json the special token
  /// of a name that is in use for it); -1 where there is none.
  int32_t end_id() const;
  /// What the file says goes before every text (TemplateProcessing of a tokenizer.json). encode() leaves it
  /// out. A SentencePiece model says nothing about it.
  const std::vector<int32_t>& prefix_ids() const;
  /// SHA-256 of the file, hex: shards and checkpoints carry it.
  const std::string& fingerprint() const { return fingerprint_; }
  /// Content of the file.
  const std::string& serialized() const { return *serialized_; }
  /// decode() gives every text back: a byte has an id each, nothing is normalised, and no text is taken for a
  /// control token.
  bool is_lossless() const;
  /// The id that stands for text that is lost; -1 where none is.
  int32_t unknown_id() const;

  /// `goes_on`: the text goes on where a safe cut ended the one before, so that a model with a dummy prefix
  /// puts no space before it.
  std::vector<int32_t> encode(std::string_view text, TextFaults* faults = nullptr,
                              bool goes_on = false) const;
  /// Same ids as encode(text), with `threads` threads: the text is cut only where no piece can span the cut.
  std::vector<int32_t> encode_parallel(std::string_view text, int threads,
                                       TextFaults* faults = nullptr) const;
  /// Bytes of the ids; control tokens and the landmark give none, SentencePiece's unknown piece gives U+FFFD.
  /// Error(usage) for an id beyond the landmark's.
  std::string decode(std::span<const int32_t> ids) const;
  /// Bytes of source text that one id stands for (0 for control tokens and the landmark).
  int64_t piece_bytes(int32_t id) const;
  /// Bytes of each id, (V) with the landmark: for bits per byte.
  std::vector<int32_t> piece_bytes_table() const;

  /// The largest prefix of `text`, at most `limit` bytes, after which a cut changes no token (where the rest
  /// is encoded as going on). text.size() when there is no such place (then look further, or encode the text
  /// as a whole) or `limit` does not fall within the text.
  size_t safe_cut(std::string_view text, size_t limit) const;

 private:
  Tokenizer() = default;
  std::shared_ptr<const TokenizerModel> model_;
  std::shared_ptr<const std::string> serialized_;
  std::string fingerprint_;
};

/// How a vocabulary is chosen and a text is cut into its pieces.
enum class TokenizerAlgorithm { bpe, unigram };

struct TokenizerTraining {
  TokenizerAlgorithm algorithm = TokenizerAlgorithm::bpe;
  int64_t vocab_size = 0;           ///< pieces, the landmark not counted
  int64_t sample_bytes = 16 << 20;  ///< at most this much text is looked at, spread evenly over the inputs
  uint64_t seed = 0;                ///< where the sample lies
  SourceOptions source = {};        ///< how documents are read
};

/// Trains a SentencePiece model with byte fallback on the documents of files, which are read twice; returns
/// the serialized model. Deterministic. Error(usage) when the text gives fewer pieces than asked for: the
/// message says how many it gives.
std::string train_tokenizer(std::span<const std::string> paths, const TokenizerTraining& training);

}  // namespace gca::text
