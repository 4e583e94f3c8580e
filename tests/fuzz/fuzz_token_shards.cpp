// A folder of token shards: index.json, ----, the bytes of one shard. Seals and checksums are made right
// where the index is an object, so that the reader looks further.

#include <algorithm>

#include "lib/core/checksums/checksum.h"
#include "lib/core/checksums/sha256.h"
#include "lib/data/token_shard.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = parts_of(text_of(data, size), 2);
  const std::string folder = scratch_folder();
  put(folder + "/tokens-00000.bin", parts[1]);
  put(folder + "/tokenizer.model", "model");
  nlohmann::json index = parsed(parts[0]);
  if (index.is_object()) {
    index["format"] = gca::data::kTokenFormat;
    index["tokenizer"] = gca::sha256_hex("model");
    if (index.contains("shards") && index["shards"].is_array())
      for (auto& shard : index["shards"]) {
        if (!shard.is_object() || !shard.contains("blocks")) continue;
        gca::Checksum checksum;
        checksum.update(parts[1]);
        shard["blocks"] = {checksum.text()};
        shard["sha256"] = gca::sha256_hex(parts[1]);
      }
  }
  put_sealed(folder + "/index.json", index, parts[0]);
  read_or_refuse([&] {
    const gca::data::TokenStore store = gca::data::TokenStore::open(folder);
    for (size_t d = 0; d < store.documents().size(); ++d) {
      std::vector<int32_t> ids(static_cast<size_t>(store.documents()[d].tokens));
      store.read(static_cast<int64_t>(d), 0, ids);
    }
    store.verify();
  });
  return 0;
}
