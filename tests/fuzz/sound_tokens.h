#pragma once
// A folder of token shards that is sound, for readers of what is made of one.

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "lib/core/checksums/sha256.h"
#include "lib/data/token_shard.h"
#include "tests/fuzz/fuzz_support.h"

/// Documents of 50, 0, 70 and 9 tokens.
inline const gca::data::TokenStore& sound_tokens() {
  static const gca::data::TokenStore store = [] {
    const std::string folder = scratch_folder() + "/tokens";
    gca::data::TokenWriter writer(folder, "model", gca::sha256_hex("model"), 300);
    for (const int length : {50, 0, 70, 9}) {
      std::vector<int32_t> ids(static_cast<size_t>(length));
      std::iota(ids.begin(), ids.end(), 0);
      writer.begin_document("document");
      writer.append(ids, "text");
      writer.end_document();
    }
    writer.finish();
    return gca::data::TokenStore::open(folder);
  }();
  return store;
}
