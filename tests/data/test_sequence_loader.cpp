#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "lib/data/sequence_loader.h"
#include "tests/data/numbered_tokens.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;

namespace {

constexpr int64_t kLandmark = 60000;
const std::vector<NumberedDocument> kDocuments = {{100, ""}, {37, ""}, {220, ""}, {9, ""}};

/// Sequences of at most 40 tokens with chunks of 4 text tokens: 3 + 1 + 6 + 1, of 40, 20 and 9 tokens and one tail.
struct Fixture {
  TemporaryFolder folder;
  data::SequenceIndex index;

  Fixture() {
    write_numbered_tokens(folder / "tokens", kDocuments);
    data::ChunkSettings settings;
    settings.chunk_size = 5;
    settings.context = 40;
    index = data::SequenceIndex::open(folder / "tokens", settings);
  }

  data::SequenceLoader loader(uint64_t seed, bool shuffle, data::PieceBytes pieces = {}) const {
    const auto entries = index.train();
    return data::SequenceLoader(index, {entries.begin(), entries.end()}, {5, kLandmark}, seed, shuffle,
                                std::move(pieces));
  }
};

/// The first id of each row tells which sequence it is.
std::vector<int64_t> first_ids(const data::Batch& batch) {
  std::vector<int64_t> ids;
  for (int64_t row = 0; row < batch.rows; ++row)
    ids.push_back(batch.ids[static_cast<size_t>(row * batch.length)]);
  return ids;
}

std::vector<int64_t> epoch_order(const data::SequenceLoader& loader, int64_t epoch) {
  const int64_t count = loader.sequence_count();
  return first_ids(loader.batch(epoch * count, count));
}

bool same(const data::Batch& a, const data::Batch& b) {
  return a.ids == b.ids && a.targets == b.targets && a.length == b.length && a.target_count == b.target_count;
}

}  // namespace

TEST_CASE("an epoch hands out every sequence once, each in another order, the seed decides") {
  const Fixture fixture;
  const data::SequenceLoader loader = fixture.loader(1, true);
  CHECK(loader.sequence_count() == 11);
  const std::vector<int64_t> unshuffled = epoch_order(fixture.loader(1, false), 0);
  CHECK(std::is_sorted(unshuffled.begin(), unshuffled.end()));
  CHECK(epoch_order(fixture.loader(1, false), 5) == unshuffled);
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    std::vector<int64_t> order = epoch_order(loader, epoch);
    orders.insert(order);
    std::sort(order.begin(), order.end());
    CHECK(order == unshuffled);
  }
  CHECK(orders.size() == 20);
  CHECK(epoch_order(fixture.loader(2, true), 0) != epoch_order(loader, 0));
  CHECK(epoch_order(fixture.loader(1, true), 7) == epoch_order(loader, 7));
}

TEST_CASE("every place of the order is equally likely for every sequence") {
  const Fixture fixture;
  const data::SequenceLoader loader = fixture.loader(9, true);
  const auto count = static_cast<size_t>(loader.sequence_count());
  const std::vector<int64_t> sequences = epoch_order(fixture.loader(0, false), 0);
  constexpr int64_t kEpochs = 1100;
  std::vector<std::vector<int64_t>> seen(count, std::vector<int64_t>(count, 0));
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const auto order = epoch_order(loader, epoch);
    for (size_t place = 0; place < count; ++place) {
      const auto sequence = std::find(sequences.begin(), sequences.end(), order[place]) - sequences.begin();
      ++seen[static_cast<size_t>(sequence)][place];
    }
  }
  // 100 expected in each cell, standard deviation 9.5: chi-squared of 121 cells has 100 degrees of freedom.
  double chi_squared = 0;
  for (const auto& row : seen)
    for (const int64_t cell : row) chi_squared += static_cast<double>((cell - 100) * (cell - 100)) / 100.0;
  CHECK(chi_squared < 170);  // passed by chance in all but one of 10^5 seeds
}

TEST_CASE("batches depend on the number of sequences handed out only, across epochs and after a resume") {
  const Fixture fixture;
  const data::SequenceLoader loader = fixture.loader(1, true);
  std::vector<int64_t> stream;
  for (int64_t consumed = 0; consumed < 60; consumed += 4) {
    const data::Batch batch = loader.batch(consumed, 4);
    const auto ids = first_ids(batch);
    stream.insert(stream.end(), ids.begin(), ids.end());
    CHECK(same(batch, fixture.loader(1, true).batch(consumed, 4)));
  }
  for (int64_t i = 0; i < 60; ++i)
    CHECK(first_ids(loader.batch(i, 1)).at(0) == stream[static_cast<size_t>(i)]);
}

TEST_CASE("rows are the laid-out sequences, what is shorter is padded and has no targets there") {
  const Fixture fixture;
  const data::SequenceLoader loader = fixture.loader(0, false);
  const data::Batch batch = loader.batch(0, 4);  // 40, 40, 20 tokens of document 0, 37 of document 1
  CHECK(batch.length == 50);
  CHECK(batch.text_tokens == 137);
  CHECK(batch.target_count == 135);  // the two ends of documents have none
  const int64_t begins[] = {0, 40, 80, 100};
  const int64_t tokens[] = {40, 40, 20, 37};
  const int64_t document_ends[] = {100, 100, 100, 137};
  for (int64_t row = 0; row < 4; ++row) {
    int64_t text = 0;
    for (int64_t position = 0; position < 50; ++position) {
      CAPTURE(row);
      CAPTURE(position);
      const int64_t id = batch.ids[static_cast<size_t>(row * 50 + position)];
      const int64_t target = batch.targets[static_cast<size_t>(row * 50 + position)];
      const bool is_padding =
          text == tokens[row] && (position % 5 != 4 || text % 4 != 0 || position != text / 4 * 5 - 1);
      if (is_padding) {
        CHECK(id == 0);
        CHECK(target == data::kNoTarget);
      } else if (position % 5 == 4) {
        CHECK(id == kLandmark);
        CHECK(target == data::kNoTarget);
      } else {
        CHECK(id == begins[row] + text);
        CHECK(target == (id + 1 < document_ends[row] ? id + 1 : data::kNoTarget));
        ++text;
      }
    }
    CHECK(text == tokens[row]);
  }
}

TEST_CASE("the bytes of a batch are those of its targets") {
  const Fixture fixture;
  std::vector<int32_t> piece_bytes(1000);
  std::iota(piece_bytes.begin(), piece_bytes.end(), 0);  // id i stands for i bytes
  const data::Batch batch = fixture.loader(0, false, {piece_bytes}).batch(0, 3);
  CHECK(batch.target_bytes == 99 * 100 / 2);  // targets 1..99
  CHECK(fixture.loader(0, false).batch(0, 3).target_bytes == 0);
}

TEST_CASE(
    "bytes are those of the source where pieces are not: of each document, or of those that are joined") {
  const TemporaryFolder folder;
  // 10 and 20 tokens, of 30 and 80 bytes of text.
  const data::TokenStore tokens =
      write_numbered_tokens(folder / "tokens", {{10, std::string(30, 'a')}, {20, std::string(80, 'b')}});
  data::ChunkSettings settings;
  settings.chunk_size = 5;
  settings.context = 100;
  const auto bytes_of = [&](const data::PieceBytes& pieces, int64_t sequence) {
    data::SequenceIndex index = data::SequenceIndex::open(folder / "tokens", settings);
    const std::vector<data::SequenceEntry> entries(index.train().begin(), index.train().end());
    return data::SequenceLoader(index, entries, {5, kLandmark}, 0, false, pieces)
        .batch(sequence, 1)
        .target_bytes;
  };
  data::PieceBytes pieces;
  pieces.of_id.assign(1000, 2);
  CHECK(bytes_of(pieces, 0) == 9 * 2);
  pieces.is_exact = false;
  CHECK(bytes_of(pieces, 0) == doctest::Approx(9 * 2 * 30.0 / 20.0));
  CHECK(bytes_of(pieces, 1) == doctest::Approx(19 * 2 * 80.0 / 40.0));
  pieces.unknown_id = 25;  // a token of the second document
  CHECK(bytes_of(pieces, 0) == doctest::Approx(27));
  CHECK(std::isnan(bytes_of(pieces, 1)));

  settings.join_documents = true;
  data::write_sequence_index(tokens, folder / "joined", settings);
  const data::SequenceIndex joined = data::SequenceIndex::open(folder / "joined");
  const std::vector<data::SequenceEntry> entries(joined.train().begin(), joined.train().end());
  REQUIRE(entries.size() == 1);
  CHECK(joined.documents_of(entries[0]) == std::vector<int64_t>{0, 1});
  CHECK(joined.documents_of({0, 2, 7}) == std::vector<int64_t>{0});  // up to the last token but one
  CHECK(joined.documents_of({0, 2, 8}) ==
        std::vector<int64_t>{0, 1});  // the token after it is the next document's
  pieces.unknown_id = -1;
  CHECK(data::SequenceLoader(joined, entries, {5, kLandmark}, 0, false, pieces).batch(0, 1).target_bytes ==
        doctest::Approx(29 * 2 * 110.0 / 60.0));
}

TEST_CASE("a loader without sequences is refused") {
  const Fixture fixture;
  const auto error = error_of([&] { data::SequenceLoader(fixture.index, {}, {5, kLandmark}, 0, true, {}); });
  REQUIRE(error);
  CHECK(error->is_usage());
}
