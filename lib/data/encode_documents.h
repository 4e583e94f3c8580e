#pragma once
// From documents to token ids with all threads, in bounded memory: texts are read piece by piece and cut into
// blocks where no token can span the cut; blocks are encoded side by side and handed on in order.

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/sources/document_source.h"
#include "lib/text/tokenizer.h"

namespace gca::data {

struct EncodedBlock {
  bool is_first = false;  ///< begins its document
  bool is_last = false;   ///< ends its document
  std::string_view name;  ///< of its document, alive during the call only
  std::string_view text;  ///< the bytes encoded, alive during the call only
  std::vector<int32_t> ids;
  text::TextFaults faults;
};

/// Processes that encode the same documents together: each reads all of the text, and encodes its share of it.
struct EncodeShare {
  int rank = 0;
  int ranks = 1;
  /// Runs `work` on every rank; rank 0 gets the results of all, rank after rank. What it throws on one rank ends it on all.
  std::function<std::vector<std::string>(const std::function<std::string()>& work)> gather = nullptr;
};

struct EncodeOptions {
  int threads = 1;
  size_t block_bytes = size_t{1} << 20;  ///< of text, as near as a safe cut allows
  EncodeShare share = {};                ///< with others `sink` is called on rank 0 alone
};

/// Calls `sink` once per block, in the order of the text, from the calling thread. Every document gives at
/// least one block; an empty one gives an empty block. The first one of each begins with the tokenizer's prefix_ids().
void encode_documents(text::DocumentSource& documents, const text::Tokenizer& tokenizer,
                      const EncodeOptions& options, const std::function<void(const EncodedBlock&)>& sink);

}  // namespace gca::data
