// chunk-vectors.safetensors of tokens that are sound; 64 zeros in it stand for their seal.

#include "lib/data/chunk_vectors.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/fuzz/sound_tokens.h"

namespace {

constexpr int64_t kChunkSize = 16;  // of which the tokens have 4, 0, 5 and 1

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
