#pragma once
// Training sequences: which stretch of which document. A folder holds:
//   index.json       format "gca.sequences/1": the tokens folder (relative when below a common parent), its
//                    fingerprints, chunk_size, context, seed, joined, counts, the documents of each split, checksums
//   train.bin, valid.bin   per sequence: document int64, first token int64, tokens int32, flags int32; little-endian
// Sequences never cross a document unless joined (then `document` is the first and the stretch runs on). The
// tail of a document gives one shorter sequence (the loader pads it and gives the padding no target) unless
// it is shorter than one chunk's text, or than two tokens: then it is counted as dropped. The landmark is put
// in when a sequence is read, not stored. Documents with the same text are always in the same split.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/data/token_shard.h"

namespace gca::data {

inline constexpr const char* kSequenceFormat = "gca.sequences/1";

struct SequenceEntry {
  int64_t document = 0;
  int64_t first_token = 0;  ///< within the document
  int32_t tokens = 0;       ///< text tokens, at most `context`
};

struct ChunkSettings {
  int64_t chunk_size = 64;      ///< S; the text of a chunk is S-1 tokens; 0: no landmarks
  int64_t context = 8192;       ///< T, text tokens of a sequence
  double valid_fraction = 0.0;  ///< of the tokens, by whole documents
  bool join_documents = false;
  uint64_t seed = 0;  ///< which documents go to valid
};

struct SplitCounts {
  int64_t documents = 0;
  int64_t sequences = 0;
  int64_t chunks = 0;          ///< complete ones, with their landmark
  int64_t tokens = 0;          ///< in sequences
  int64_t dropped_tokens = 0;  ///< tails shorter than one chunk's text
};

struct ChunkSummary {
  SplitCounts train, valid;
};

/// Cuts the documents of a shard folder into sequences and writes the index folder.
ChunkSummary write_sequence_index(const TokenStore& tokens, const std::string& folder,
                                  const ChunkSettings& settings);

/// Read-only view of an index folder with its token store.
class SequenceIndex {
 public:
  /// Opens a folder written by write_sequence_index; a shard folder is taken too, cut on the fly with `fallback`.
  static SequenceIndex open(const std::string& folder, const ChunkSettings& fallback = {});

  const TokenStore& tokens() const;
  const ChunkSettings& settings() const;
  std::span<const SequenceEntry> train() const;
  std::span<const SequenceEntry> valid() const;
  /// What a validation run reads: the valid split where there is one, everything otherwise.
  std::span<const SequenceEntry> held_out() const;
  /// Text of a sequence, (entry.tokens), and the token after it (kNoTarget at the end of its document).
  std::vector<int32_t> read(const SequenceEntry& entry, int64_t* next) const;
  /// The documents that read() takes the text and the token after it from.
  std::vector<int64_t> documents_of(const SequenceEntry& entry) const;
  /// SHA-256 over everything that decides the order and content of batches: resuming on other data is refused.
  const std::string& fingerprint() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace gca::data
