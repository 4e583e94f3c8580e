#include "lib/data/chunk_vectors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "lib/core/files/atomic_file.h"
#include "lib/data/sequence_blend.h"
#include "lib/data/sequence_loader.h"
#include "tests/data/numbered_tokens.h"
#include "tests/support/chunk_vectors_file.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

using namespace gca;
using gca::testing::vectors_file;
using gca::testing::VectorsFile;

namespace {

// Chunks of 4 text tokens: 25, 10, 0, 55 and 3 of them, the last of some documents shorter.
constexpr int64_t kChunkSize = 5;
const std::vector<NumberedDocument> kDocuments = {{100, ""}, {37, ""}, {0, ""}, {220, ""}, {9, ""}};
const std::vector<int64_t> kFirstRows = {0, 25, 35, 35, 90};
constexpr int64_t kRows = 93;

/// Row r is (r, 1000 + r).
std::vector<float> numbered_rows() {
  std::vector<float> values;
  for (int64_t r = 0; r < kRows; ++r) {
    values.push_back(static_cast<float>(r));
    values.push_back(static_cast<float>(1000 + r));
  }
  return values;
}

struct Fixture {
  TemporaryFolder folder;
  data::TokenStore tokens = write_numbered_tokens(folder / "tokens", kDocuments);
  std::string path = folder / "tokens/chunk-vectors.safetensors";
  VectorsFile file = vectors_file(numbered_rows(), 2, kChunkSize, tokens.content_fingerprint());

  data::ChunkVectors open() const {
    file.write(path);
    return data::ChunkVectors::open(folder / "tokens", tokens, kChunkSize);
  }
  data::SequenceIndex index(int64_t context) const {
    data::ChunkSettings settings;
    settings.chunk_size = kChunkSize;
    settings.context = context;
    return data::SequenceIndex::open(folder / "tokens", settings);
  }
};

std::vector<float> rows_of(const data::ChunkVectors& vectors, int64_t document, int64_t first,
                           int64_t count) {
  std::vector<float> rows(static_cast<size_t>(count * vectors.size()));
  vectors.read(document, first, rows);
  return rows;
}

/// The row of the chunk that begins with token `id`, which are numbered through all documents.
int64_t row_of_token(int64_t id) {
  int64_t document = 0;
  while (id >= first_id(kDocuments, document + 1)) ++document;
  return kFirstRows[static_cast<size_t>(document)] + (id - first_id(kDocuments, document)) / 4;
}

}  // namespace

TEST_CASE("chunk vectors: a document's rows are those of its chunks, in each type of number") {
  Fixture fixture;
  const data::ChunkVectors vectors = fixture.open();
  CHECK(vectors.size() == 2);
  CHECK(rows_of(vectors, 1, 9, 1) == std::vector<float>{34, 1034});  // the last, of one token
  CHECK(rows_of(vectors, 3, 1, 2) == std::vector<float>{36, 1036, 37, 1037});
  CHECK(rows_of(vectors, 4, 2, 1) == std::vector<float>{92, 1092});
  CHECK(error_of([&] { rows_of(vectors, 1, 9, 2); }));  // the next document's

  // 1, -2, 0.5 and the smallest number of half precision; 1, -2, 0.5 and 3.140625 of bfloat16.
  const std::vector<uint16_t> half = {0x3C00, 0xC000, 0x3800, 0x0001};
  const std::vector<uint16_t> bfloat16 = {0x3F80, 0xC000, 0x3F00, 0x4049};
  for (const auto& [dtype, bits, last] :
       {std::tuple{"F16", half, std::ldexp(1.0F, -24)}, std::tuple{"BF16", bfloat16, 3.140625F}}) {
    const std::string type = dtype;
    CAPTURE(type);
    std::string bytes;
    for (int64_t i = 0; i < kRows; ++i)
      bytes.append(reinterpret_cast<const char*>(bits.data()), bits.size() * sizeof(uint16_t));
    fixture.file = {type, 4, bytes, fixture.file.metadata};
    CHECK(rows_of(fixture.open(), 4, 2, 1) == std::vector<float>{1, -2, 0.5, last});
  }
}

TEST_CASE("chunk vectors: a batch has those of the chunks with a landmark of each of its sequences") {
  const Fixture fixture;
  const data::ChunkVectors vectors = fixture.open();
  const data::SequenceIndex index = fixture.index(40);
  const data::SequenceLoader loader(index, {index.train().begin(), index.train().end()}, {kChunkSize, 60000},
                                    7, true, {}, vectors);
  const int64_t count = loader.sequence_count();
  const data::Batch batch = loader.batch(0, count);
  CHECK(batch.vector_size == 2);
  REQUIRE(batch.chunks == 10);
  std::vector<data::Batch> single;
  for (int64_t row = 0; row < count; ++row) {
    const int64_t* ids = batch.ids.data() + row * batch.length;
    single.push_back(loader.batch(row, 1));
    const int64_t closed = single.back().length / kChunkSize;
    CHECK(single.back().chunks == closed);
    for (int64_t chunk = 0; chunk < batch.chunks; ++chunk) {
      const float* vector = batch.chunk_vectors.data() + (row * batch.chunks + chunk) * 2;
      const int64_t expected = chunk < closed ? row_of_token(ids[chunk * kChunkSize]) : -1;
      CHECK(vector[0] == (expected < 0 ? 0.0F : static_cast<float>(expected)));
      CHECK(vector[1] == (expected < 0 ? 0.0F : static_cast<float>(1000 + expected)));
    }
  }
  const data::Batch stacked = data::stack_batches(single);
  CHECK(stacked.chunk_vectors == batch.chunk_vectors);
  CHECK(stacked.chunks == batch.chunks);
  CHECK(stacked.vector_size == 2);
}

TEST_CASE("chunk vectors: those beside sequences go before those of their tokens") {
  const Fixture fixture;
  const std::string tokens_only = fixture.open().fingerprint();
  const std::string sequences = fixture.folder / "sequences";
  write_sequence_index(fixture.tokens, sequences, {.chunk_size = kChunkSize, .context = 40});
  CHECK(data::ChunkVectors::open(sequences, fixture.tokens, kChunkSize).fingerprint() == tokens_only);
  VectorsFile other =
      vectors_file(std::vector<float>(kRows, 7.0F), 1, kChunkSize, fixture.tokens.content_fingerprint());
  other.write(sequences + "/chunk-vectors.safetensors");
  const data::ChunkVectors own = data::ChunkVectors::open(sequences, fixture.tokens, kChunkSize);
  CHECK(own.size() == 1);
  CHECK(own.fingerprint() != tokens_only);
  CHECK_NOTHROW(data::SequenceIndex::open(sequences));
}

TEST_CASE("chunk vectors: sequences that do not begin with a chunk are refused") {
  const Fixture fixture;
  const data::ChunkVectors vectors = fixture.open();
  const data::SequenceIndex on_chunks = fixture.index(40);
  CHECK_NOTHROW(vectors.require_on_chunks(on_chunks.settings(), on_chunks.train(), "DATA"));
  const data::SequenceIndex off_chunks = fixture.index(42);
  const auto off =
      error_of([&] { vectors.require_on_chunks(off_chunks.settings(), off_chunks.train(), "DATA"); });
  REQUIRE(off);
  CHECK(off->is_usage());
  CHECK(off->says("DATA: its sequences of 42 tokens do not begin with chunks of 4"));
  CHECK(off->says("a multiple of 4, such as 40"));
  const auto joined =
      error_of([&] { vectors.require_on_chunks({.join_documents = true}, on_chunks.train(), "DATA"); });
  REQUIRE(joined);
  CHECK(joined->says("--join-documents"));
}

TEST_CASE("chunk vectors: a file that is missing, damaged or of other data is refused") {
  const Fixture sound;
  const auto check_refused = [&](const std::function<void(VectorsFile&)>& change, const std::string& says) {
    CAPTURE(says);
    Fixture fixture;
    fixture.file = vectors_file(numbered_rows(), 2, kChunkSize, fixture.tokens.content_fingerprint());
    change(fixture.file);
    const auto error = error_of([&] { fixture.open(); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK_MESSAGE(error->says(fixture.path + ": " + says), error->message);
  };
  const auto missing =
      error_of([&] { data::ChunkVectors::open(sound.folder / "tokens", sound.tokens, kChunkSize); });
  REQUIRE(missing);
  CHECK(missing->is_usage());
  CHECK(missing->says(sound.path + ": is not there"));

  check_refused([](VectorsFile& file) { file.tensor = "rows"; }, "has no tensor \"vectors\"");
  check_refused([](VectorsFile& file) { file.dtype = "I32"; }, "its vectors are I32");
  check_refused([](VectorsFile& file) { file.metadata["chunk_size"] = "64"; },
                "is of chunks of size 64, the model's chunk_size is 5");
  check_refused([](VectorsFile& file) { file.metadata.erase("chunk_size"); }, "does not say");
  check_refused([](VectorsFile& file) { file.metadata["tokens"][0] ^= 1; }, "was made of other tokens");
  check_refused([](VectorsFile& file) { file.metadata.erase("tokens"); }, "does not say");
  check_refused([](VectorsFile& file) { file.bytes.resize(file.bytes.size() - 8); },
                "has 92 rows, the tokens have 93 chunks of 4 tokens");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    check_refused(
        [bad](VectorsFile& file) {
          file.bytes.replace(8 * 17 + 4, sizeof(bad), reinterpret_cast<const char*>(&bad), sizeof(bad));
        },
        "row 17 holds a number that is not finite");

  sound.open();
  std::string bytes = read_file(sound.path);
  bytes[bytes.size() - 3] ^= 1;  // against its own checksum
  testing::write_file(sound.path, bytes);
  CHECK(error_of([&] {
          data::ChunkVectors::open(sound.folder / "tokens", sound.tokens, kChunkSize);
        })->says("does not match its checksum"));
  testing::write_file(sound.path, bytes.substr(0, bytes.size() - 1));
  CHECK(error_of([&] {
          data::ChunkVectors::open(sound.folder / "tokens", sound.tokens, kChunkSize);
        })->is_usage());
}
