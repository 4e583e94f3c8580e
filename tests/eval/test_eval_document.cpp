#include "lib/eval/eval_document.h"

#include <doctest/doctest.h>

#include <numeric>

#include "lib/core/checksums/sha256.h"
#include "tests/support/temporary_folder.h"

using namespace gca;

namespace {

std::vector<eval::EvalDocument> documents_of(const std::vector<size_t>& lengths) {
  std::vector<eval::EvalDocument> documents;
  for (const size_t length : lengths)
    documents.push_back(eval::eval_document("", std::vector<int32_t>(length, 1), 0));
  return documents;
}

int64_t tokens_of(std::span<const eval::EvalSpan> spans, int64_t document) {
  int64_t tokens = 0;
  for (const eval::EvalSpan& span : spans)
    if (span.document == document) tokens += span.tokens;
  return tokens;
}

/// A shard folder of documents whose tokens count up from 100 times their number.
data::TokenStore store_of(const std::string& folder, const std::vector<int32_t>& lengths) {
  const std::string model = "any bytes: nothing is encoded here";
  data::TokenWriter writer(folder, model, sha256_hex(model), 1000);
  for (size_t i = 0; i < lengths.size(); ++i) {
    std::vector<int32_t> ids(static_cast<size_t>(lengths[i]));
    std::iota(ids.begin(), ids.end(), static_cast<int32_t>(100 * i));
    writer.begin_document("document " + std::to_string(i));
    writer.append(ids, "text " + std::to_string(i));
    writer.end_document();
  }
  writer.finish();
  return data::TokenStore::open(folder);
}

std::vector<int32_t> read_all(const eval::EvalDocument& document) {
  std::vector<int32_t> ids(static_cast<size_t>(document.tokens));
  document.read(0, ids);
  return ids;
}

}  // namespace

TEST_CASE("without a bound every token of every document is taken once, in order") {
  const auto documents = documents_of({100, 0, 7, 250});
  const auto spans = eval::choose_eval_spans(documents, 64, 0);
  int64_t document = -1, end = 0;
  for (const eval::EvalSpan& span : spans) {
    if (span.document != document) {
      if (document >= 0) CHECK(end == documents[static_cast<size_t>(document)].tokens);
      document = span.document;
      end = 0;
    }
    CHECK(span.first == end);
    CHECK(span.tokens <= 64);
    end = span.first + span.tokens;
  }
  CHECK(end == 250);
  CHECK(tokens_of(spans, 0) == 100);
  CHECK(tokens_of(spans, 1) == 0);
  CHECK(tokens_of(spans, 2) == 7);
}

TEST_CASE("a bound is kept exactly and shared out span by span") {
  const auto documents = documents_of({1000, 100, 1000});
  const auto spans = eval::choose_eval_spans(documents, 50, 470);
  CHECK(tokens_of(spans, 0) == 200);
  CHECK(tokens_of(spans, 1) == 100);
  CHECK(tokens_of(spans, 2) == 170);
  CHECK(eval::choose_eval_spans(documents, 50, 1000000).size() == 20 + 2 + 20);
}

TEST_CASE("a sequence index gives whole documents of its split") {
  const TemporaryFolder folder;
  const data::TokenStore store = store_of(folder / "tokens", {90, 60, 75, 80});
  data::ChunkSettings settings;
  settings.chunk_size = 8;
  settings.context = 21;
  settings.valid_fraction = 0.3;
  data::write_sequence_index(store, folder / "sequences", settings);
  const data::SequenceIndex index = data::SequenceIndex::open(folder / "sequences");

  const auto valid = eval::eval_documents(index, eval::EvalSplit::held_out);
  const auto train = eval::eval_documents(index, eval::EvalSplit::train);
  CHECK(valid.size() >= 1);
  CHECK(train.size() >= 1);
  CHECK(valid.size() + train.size() == 4);
  std::vector<int> seen(4, 0);
  for (const auto* split : {&train, &valid}) {
    for (const eval::EvalDocument& document : *split) {
      const std::vector<int32_t> ids = read_all(document);
      const auto number = static_cast<size_t>(ids.at(0) / 100);
      ++seen[number];
      CHECK(document.name == "document " + std::to_string(number));
      std::vector<int32_t> expected(static_cast<size_t>(store.documents()[number].tokens));
      std::iota(expected.begin(), expected.end(), static_cast<int32_t>(100 * number));
      CHECK(ids == expected);
    }
  }
  CHECK(seen == std::vector<int>{1, 1, 1, 1});
}

TEST_CASE("joined documents are one text") {
  const TemporaryFolder folder;
  const data::TokenStore store = store_of(folder / "tokens", {30, 40});
  data::ChunkSettings settings;
  settings.chunk_size = 8;
  settings.context = 35;
  settings.join_documents = true;
  data::write_sequence_index(store, folder / "sequences", settings);
  const data::SequenceIndex index = data::SequenceIndex::open(folder / "sequences");
  const auto documents = eval::eval_documents(index, eval::EvalSplit::held_out);
  REQUIRE(documents.size() == 1);
  const std::vector<int32_t> ids = read_all(documents[0]);
  std::vector<int32_t> expected(30);
  std::iota(expected.begin(), expected.end(), 0);
  for (int32_t id = 100; id < 140; ++id) expected.push_back(id);
  CHECK(ids == expected);
}
