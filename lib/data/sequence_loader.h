#pragma once
// Batches in a reproducible order. The whole state is the number of sequences handed out: sequence number i
// of the run is entry permutation(seed, epoch = i / N)[i mod N], a Philox-keyed shuffle, so resuming needs
// one integer. The last batch of an epoch runs on into the next; nothing is dropped.

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "lib/data/chunk_layout.h"
#include "lib/data/chunk_vectors.h"
#include "lib/data/sequence_index.h"
#include "lib/data/source_bytes.h"

namespace gca::data {

/// Row-major (B, L) ids and targets; rows shorter than L are padded with id 0 and no target.
struct Batch {
  int64_t rows = 0;    ///< B
  int64_t length = 0;  ///< L
  std::vector<int64_t> ids;
  std::vector<int64_t> targets;
  int64_t text_tokens = 0;  ///< real text tokens
  int64_t target_count = 0;
  /// Bytes of source text of all targets (source_bytes.h): 0 where they are not counted, NaN where some is
  /// lost.
  double target_bytes = 0;
  /// (B, C, e), where a model chooses by them (chunk_vectors.h): of the chunks of each row that have their landmark, zeros
  /// behind them; C is that of the longest row.
  std::vector<float> chunk_vectors;
  int64_t chunks = 0;       ///< C; 0 without vectors
  int64_t vector_size = 0;  ///< e; 0 without vectors
};

class SequenceLoader {
 public:
  /// `pieces` may be empty (then target_bytes stays 0). With `vectors`, batches have them. Throws Error(usage) when there is
  /// no sequence.
  SequenceLoader(SequenceIndex index, std::vector<SequenceEntry> entries, ChunkLayout layout, uint64_t seed,
                 bool shuffle, PieceBytes pieces, std::optional<ChunkVectors> vectors = {});

  /// The `rows` sequences after the first `consumed` of the run; L is that of the longest.
  Batch batch(int64_t consumed, int64_t rows) const;
  int64_t sequence_count() const { return static_cast<int64_t>(entries_.size()); }

 private:
  std::vector<int64_t> permutation(int64_t epoch) const;
  double piece_bytes_of(std::span<const int64_t> targets) const;
  double source_scale(const SequenceEntry& entry) const;
  void add_vectors(Batch& batch, std::span<const SequenceEntry> rows) const;

  SequenceIndex index_;
  std::vector<SequenceEntry> entries_;
  ChunkLayout layout_;
  uint64_t seed_;
  bool shuffle_;
  PieceBytes pieces_;
  std::optional<ChunkVectors> vectors_;
  mutable std::map<int64_t, DocumentBytes> document_bytes_;  ///< of documents met, where pieces are not exact
  mutable int64_t cached_epoch_ = -1;
  mutable std::vector<int64_t> cached_permutation_;
};

}  // namespace gca::data
