#pragma once
// Vectors of the chunks of a data set, made by any other program: models with retriever=frozen choose chunks by them. The file
// chunk-vectors.safetensors, in the folder of the sequences or else in that of their tokens, holds
//   vectors    (N, e) F32, F16 or BF16: a row for each chunk of S-1 tokens, one document after the other in the order of
//              the tokens' index.json. A document of n tokens has ceil(n / (S-1)) of them; its last chunk may be shorter.
//   metadata   chunk_size: S, in digits; tokens: the seal of the tokens' index.json
// Chunks are scored by the dot product of their rows as they are: a file that wants cosines holds rows of length 1, and
// one that wants weights that differ more holds longer rows.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "lib/data/sequence_index.h"
#include "lib/data/token_shard.h"

namespace gca::data {

inline constexpr const char* kChunkVectorsFile = "chunk-vectors.safetensors";

/// Read-only view of a file; cheap to copy, safe to share between threads.
class ChunkVectors {
 public:
  /// Of `tokens`, in chunks of `chunk_size` positions, from `folder` or else from tokens.folder(). Reads the file once. Throws
  /// Error(usage) when it is missing, damaged, of other tokens or chunks, or holds a number that is not finite.
  static ChunkVectors open(const std::string& folder, const TokenStore& tokens, int64_t chunk_size);

  int64_t size() const;        ///< e, numbers of a row
  int64_t chunk_text() const;  ///< S-1, text tokens of a chunk
  /// Changes with any number.
  const std::string& fingerprint() const;
  /// Copies out.size() / e rows of document `document`, beginning at its chunk `first`.
  void read(int64_t document, int64_t first, std::span<float> out) const;

  /// Throws Error(usage) naming `where` where documents are joined, whose chunks are others then.
  static void require_no_joined(const ChunkSettings& settings, const std::string& where);
  /// The same, and unless every sequence begins where a chunk of its document does.
  void require_on_chunks(const ChunkSettings& settings, std::span<const SequenceEntry> entries,
                         const std::string& where) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace gca::data
