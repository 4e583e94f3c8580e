#pragma once
// Shard folders whose tokens are 0, 1, 2, ... through all documents: any slice is checked by looking at it.

#include <numeric>
#include <string>
#include <vector>

#include "lib/core/checksums/sha256.h"
#include "lib/data/token_shard.h"

struct NumberedDocument {
  int64_t tokens = 0;
  std::string text;  ///< decides which documents count as the same; empty: unique
};

inline const std::string kPretendedModel = "stands for a SentencePiece model";

/// `piece_count` above 65536 gives 32-bit shards.
inline gca::data::TokenStore write_numbered_tokens(const std::string& folder,
                                                   const std::vector<NumberedDocument>& documents,
                                                   int64_t piece_count = 65536,
                                                   int64_t tokens_per_shard = 1 << 20) {
  gca::data::TokenWriter writer(folder, kPretendedModel, gca::sha256_hex(kPretendedModel), piece_count,
                                tokens_per_shard);
  int32_t next_id = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    std::vector<int32_t> ids(static_cast<size_t>(documents[i].tokens));
    std::iota(ids.begin(), ids.end(), next_id);
    next_id += static_cast<int32_t>(documents[i].tokens);
    const std::string name = "document " + std::to_string(i);
    writer.begin_document(name);
    writer.append(ids, documents[i].text.empty() ? name : documents[i].text);
    writer.end_document();
  }
  writer.finish();
  return gca::data::TokenStore::open(folder);
}

/// Id of the first token of document `document`.
inline int64_t first_id(const std::vector<NumberedDocument>& documents, int64_t document) {
  int64_t id = 0;
  for (int64_t i = 0; i < document; ++i) id += documents[static_cast<size_t>(i)].tokens;
  return id;
}
