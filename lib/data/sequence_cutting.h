#pragma once
// From documents to sequences: which documents are held out, and where each sequence begins.

#include <cstdint>
#include <span>
#include <vector>

#include "lib/data/sequence_index.h"

namespace gca::data {

/// The documents of one split and the sequences cut from them.
struct SplitPlan {
  std::vector<int64_t> documents;  ///< in rising order
  std::vector<SequenceEntry> entries;
  SplitCounts counts;
};

struct CutPlan {
  SplitPlan train, valid;
};

/// Throws Error(usage) naming the flag of a setting that is out of range.
void check_chunk_settings(const ChunkSettings& settings);

/// Throws Error(usage) on settings out of range, or when a split would be empty.
CutPlan cut_documents(std::span<const TokenDocument> documents, const ChunkSettings& settings);

}  // namespace gca::data
