#include "lib/data/haystack.h"

#include <doctest/doctest.h>

#include "tests/data/numbered_tokens.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;

TEST_CASE("A haystack is its documents one after the other, again and again") {
  const TemporaryFolder folder;
  const data::TokenStore tokens =
      write_numbered_tokens(folder / "tokens", {{7, ""}, {1, ""}, {0, "empty"}, {12, ""}});
  const data::Haystack haystack = data::Haystack::of(tokens);
  REQUIRE(haystack.token_count() == 20);
  for (int64_t first = 0; first < 45; ++first)
    for (const int64_t count : {1, 5, 20, 53}) {
      std::vector<int32_t> read(static_cast<size_t>(count), -1);
      haystack.read(first, read);
      for (int64_t i = 0; i < count; ++i) CHECK(read[static_cast<size_t>(i)] == (first + i) % 20);
    }
}

TEST_CASE("The haystack of a split has the documents of that split, whole") {
  const TemporaryFolder folder;
  const std::vector<NumberedDocument> documents = {{40, ""}, {30, ""}, {50, ""}, {60, ""}};
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", documents);
  data::ChunkSettings settings;
  settings.chunk_size = 5;
  settings.context = 16;
  settings.valid_fraction = 0.4;
  data::write_sequence_index(tokens, folder / "index", settings);
  const data::SequenceIndex index = data::SequenceIndex::open(folder / "index");
  REQUIRE(!index.valid().empty());
  const data::Haystack train = data::Haystack::of(index, index.train());
  const data::Haystack valid = data::Haystack::of(index, index.valid());
  CHECK(train.token_count() + valid.token_count() == 180);
  std::vector<int32_t> ids(static_cast<size_t>(valid.token_count()));
  valid.read(0, ids);
  int64_t at = 0;
  for (int64_t document = 0; document < 4; ++document) {
    if (ids[static_cast<size_t>(at)] != first_id(documents, document)) continue;
    for (int64_t i = 0; i < documents[static_cast<size_t>(document)].tokens; ++i)
      CHECK(ids[static_cast<size_t>(at + i)] == first_id(documents, document) + i);
    at += documents[static_cast<size_t>(document)].tokens;
    if (at == valid.token_count()) break;
  }
  CHECK(at == valid.token_count());
}

TEST_CASE("A haystack without a token is refused") {
  CHECK(error_of([] { data::Haystack::of(std::vector<int32_t>{}, "nothing"); })->says("nothing"));
}
