// chunk-vectors.safetensors of tokens that are sound; 64 zeros in it stand for their seal.

#include <numeric>

#include "lib/core/checksums/sha256.h"
#include "lib/data/chunk_vectors.h"
#include "tests/fuzz/fuzz_support.h"

namespace {

constexpr int64_t kChunkSize = 16;

/// Documents of 4, 0, 5 and 1 chunks.
const gca::data::TokenStore& sound_tokens() {
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const gca::data::TokenStore& tokens = sound_tokens();
  const std::string folder = scratch_folder() + "/vectors";
  std::filesystem::create_directory(folder);
  std::string content(text_of(data, size));
  const std::string& seal = tokens.content_fingerprint();
  const size_t place = content.find(std::string(seal.size(), '0'));
  if (place != std::string::npos) content.replace(place, seal.size(), seal);
  put(folder + "/" + gca::data::kChunkVectorsFile, content);
  read_or_refuse([&] {
    const auto vectors = gca::data::ChunkVectors::open(folder, tokens, kChunkSize);
    std::vector<float> rows(static_cast<size_t>(5 * vectors.size()));
    vectors.read(2, 0, rows);
    vectors.read(3, 0, std::span(rows).first(static_cast<size_t>(vectors.size())));
  });
  return 0;
}
