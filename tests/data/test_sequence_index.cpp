#include <doctest/doctest.h>

#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "lib/core/files/atomic_file.h"
#include "lib/data/chunk_layout.h"
#include "lib/data/sequence_index.h"
#include "tests/data/numbered_tokens.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

using namespace gca;
namespace fs = std::filesystem;

namespace {

const std::vector<NumberedDocument> kDocuments = {{100, ""}, {0, ""}, {7, ""},  {64, ""},
                                                  {31, ""},  {1, ""}, {500, ""}};
constexpr int64_t kTotal = 703;

data::ChunkSettings settings_of(int64_t chunk_size, int64_t context, bool joined = false) {
  data::ChunkSettings settings;
  settings.chunk_size = chunk_size;
  settings.context = context;
  settings.join_documents = joined;
  return settings;
}

data::SequenceIndex written(const TemporaryFolder& folder, const data::TokenStore& tokens,
                            const data::ChunkSettings& settings, data::ChunkSummary* summary = nullptr) {
  const data::ChunkSummary counts = data::write_sequence_index(tokens, folder / "sequences", settings);
  if (summary != nullptr) *summary = counts;
  return data::SequenceIndex::open(folder / "sequences");
}

/// Documents that the entries of a split begin in.
std::set<int64_t> documents_of(std::span<const data::SequenceEntry> entries) {
  std::set<int64_t> documents;
  for (const data::SequenceEntry& entry : entries) documents.insert(entry.document);
  return documents;
}

/// Documents with `texts[i]` as text, ten tokens each or more.
std::vector<NumberedDocument> documents_with_texts(const std::vector<std::string>& texts) {
  std::vector<NumberedDocument> documents;
  for (size_t i = 0; i < texts.size(); ++i) documents.push_back({10 + static_cast<int64_t>(i), texts[i]});
  return documents;
}

}  // namespace

TEST_CASE("every token is in one sequence or dropped with a tail, no sequence crosses a document") {
  const TemporaryFolder folder;
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", kDocuments);
  for (const int64_t chunk_size : {0, 2, 5, 9, 33})
    for (const int64_t context : {32, 40, 64, 1000}) {
      CAPTURE(chunk_size);
      CAPTURE(context);
      data::ChunkSummary summary;
      const data::SequenceIndex index = written(folder, tokens, settings_of(chunk_size, context), &summary);
      CHECK(index.valid().empty());
      CHECK(summary.train.documents == 7);
      CHECK(summary.train.sequences == static_cast<int64_t>(index.train().size()));

      std::vector<int> uses(kTotal, 0);
      int64_t chunks = 0;
      for (const data::SequenceEntry& entry : index.train()) {
        int64_t next = -2;
        const std::vector<int32_t> text = index.read(entry, &next);
        const int64_t begin = first_id(kDocuments, entry.document) + entry.first_token;
        const int64_t document_end = first_id(kDocuments, entry.document + 1);
        REQUIRE(text.size() == static_cast<size_t>(entry.tokens));
        REQUIRE(entry.tokens <= context);
        REQUIRE(begin + entry.tokens <= document_end);
        for (int64_t i = 0; i < entry.tokens; ++i) {
          REQUIRE(text[static_cast<size_t>(i)] == begin + i);
          ++uses[static_cast<size_t>(begin + i)];
        }
        CHECK(next == (begin + entry.tokens < document_end ? begin + entry.tokens : data::kNoTarget));
        if (chunk_size > 0) chunks += entry.tokens / (chunk_size - 1);
      }
      CHECK(summary.train.chunks == chunks);

      // By hand: what is left of each document after whole contexts is dropped when shorter than a chunk's text.
      int64_t dropped = 0;
      for (const NumberedDocument& document : kDocuments) {
        const int64_t tail = document.tokens % context;
        if (tail < std::max<int64_t>(2, chunk_size - 1)) dropped += tail;
      }
      CHECK(summary.train.dropped_tokens == dropped);
      CHECK(summary.train.tokens + dropped == kTotal);
      int64_t used = 0;
      for (const int count : uses) {
        REQUIRE(count <= 1);
        used += count;
      }
      CHECK(used == summary.train.tokens);
    }
}

TEST_CASE(
    "joined documents are one stretch: all but the last tail is used, in order, and next crosses borders") {
  const TemporaryFolder folder;
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", kDocuments);
  data::ChunkSummary summary;
  const data::SequenceIndex index = written(folder, tokens, settings_of(9, 40, true), &summary);
  int64_t expected = 0;
  for (const data::SequenceEntry& entry : index.train()) {
    int64_t next = -2;
    for (const int32_t id : index.read(entry, &next)) REQUIRE(id == expected++);
    CHECK(next == (expected < kTotal ? expected : data::kNoTarget));
  }
  CHECK(expected == kTotal);  // 703 = 17 * 40 + 23, and 23 tokens are more than a chunk
  CHECK(summary.train.dropped_tokens == 0);
  CHECK(index.train().size() == 18);
}

TEST_CASE("joining stays within the split") {
  const TemporaryFolder folder;
  std::vector<NumberedDocument> documents(20, NumberedDocument{50, ""});
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", documents);
  data::ChunkSettings settings = settings_of(5, 120, true);
  settings.valid_fraction = 0.3;
  const data::SequenceIndex index = written(folder, tokens, settings);
  std::map<int64_t, int> split_of_document;
  int split = 0;
  for (const auto entries : {index.train(), index.valid()}) {
    ++split;
    for (const data::SequenceEntry& entry : entries)
      for (const int32_t id : index.read(entry, nullptr)) {
        int& seen = split_of_document[id / 50];
        CHECK((seen == 0 || seen == split));
        seen = split;
      }
  }
  CHECK(split_of_document.size() == 20);
}

TEST_CASE("documents with the same text are on the same side, whatever the seed") {
  const TemporaryFolder folder;
  const auto documents = documents_with_texts({"a", "b", "a", "c", "d", "b", "a", "e", "f", "d"});
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", documents);
  std::set<std::set<int64_t>> choices;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    data::ChunkSettings settings = settings_of(5, 8);
    settings.valid_fraction = 0.4;
    settings.seed = seed;
    const data::SequenceIndex index = data::SequenceIndex::open(folder / "tokens", settings);
    const std::set<int64_t> train = documents_of(index.train());
    const std::set<int64_t> valid = documents_of(index.valid());
    CHECK_FALSE(train.empty());
    CHECK_FALSE(valid.empty());
    CHECK(train.size() + valid.size() == documents.size());
    for (const int64_t a : train)
      for (const int64_t b : valid)
        CHECK(documents[static_cast<size_t>(a)].text != documents[static_cast<size_t>(b)].text);
    choices.insert(valid);
  }
  CHECK(choices.size() > 3);
}

TEST_CASE("the held-out part comes near to the fraction asked for") {
  const TemporaryFolder folder;
  const std::vector<NumberedDocument> documents(100, NumberedDocument{100, ""});
  write_numbered_tokens(folder / "tokens", documents);
  for (const double fraction : {0.0, 0.05, 0.3, 0.9}) {
    data::ChunkSettings settings = settings_of(5, 100);
    settings.valid_fraction = fraction;
    const data::SequenceIndex index = data::SequenceIndex::open(folder / "tokens", settings);
    CHECK(static_cast<double>(index.valid().size()) == doctest::Approx(100 * fraction).epsilon(0.011));
    CHECK(index.held_out().size() == (fraction > 0 ? index.valid().size() : 100));
  }
}

TEST_CASE("a folder of shards opens as if it had been cut with the same settings") {
  const TemporaryFolder folder;
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", kDocuments);
  data::ChunkSettings settings = settings_of(9, 40);
  settings.valid_fraction = 0.2;
  settings.seed = 3;
  const data::SequenceIndex cut = written(folder, tokens, settings);
  const data::SequenceIndex on_the_fly = data::SequenceIndex::open(folder / "tokens", settings);
  CHECK(cut.fingerprint() == on_the_fly.fingerprint());
  CHECK(cut.train().size() == on_the_fly.train().size());
  CHECK(cut.valid().size() == on_the_fly.valid().size());
  settings.seed = 4;
  CHECK(data::SequenceIndex::open(folder / "tokens", settings).fingerprint() != cut.fingerprint());
}

TEST_CASE("shards and sequences may be moved together") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "before");
  const data::TokenStore tokens = write_numbered_tokens(folder / "before/tokens", kDocuments);
  data::write_sequence_index(tokens, folder / "before/sequences", settings_of(9, 40));
  fs::rename(folder / "before", folder / "after");
  const data::SequenceIndex index = data::SequenceIndex::open(folder / "after/sequences");
  CHECK(index.read(index.train()[0], nullptr)[3] == 3);
}

TEST_CASE("sequences behind a link find their tokens, beside what it leads to or beside the link") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "scratch");
  fs::create_directories(folder / "here");
  const data::TokenStore tokens = write_numbered_tokens(folder / "scratch/tokens", kDocuments);
  data::write_sequence_index(tokens, folder / "scratch/train", settings_of(9, 40));
  fs::create_directory_symlink("../scratch/train", folder / "here/train");
  const size_t sequences = data::SequenceIndex::open(folder / "scratch/train").train().size();
  CHECK(sequences > 0);
  CHECK(data::SequenceIndex::open(folder / "here/train").train().size() == sequences);

  // Only the sequences went to the scratch disk.
  fs::rename(folder / "scratch/tokens", folder / "here/tokens");
  CHECK(data::SequenceIndex::open(folder / "here/train").train().size() == sequences);

  fs::rename(folder / "here/tokens", folder / "here/renamed");
  const auto error = error_of([&] { data::SequenceIndex::open(folder / "here/train"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says(folder / "here/train"));
  CHECK(error->says("scratch/tokens"));
  CHECK(error->says("gca chunk --tokens"));

  // Sequences that were moved alone.
  fs::copy(folder / "scratch/train", folder / "here/copy");
  const auto moved = error_of([&] { data::SequenceIndex::open(folder / "here/copy"); });
  REQUIRE(moved);
  CHECK(moved->is_usage());
  CHECK(moved->says((folder / "here/copy/index.json") + ": refers to the tokens in " +
                    fs::canonical(folder / "here").string() + "/tokens, which are not there"));
  CHECK(moved->says("gca chunk --tokens NEW-PLACE"));
  fs::create_symlink("renamed", folder / "here/tokens");  // what the error proposes
  CHECK_NOTHROW(data::SequenceIndex::open(folder / "here/copy"));
}

TEST_CASE("other tokens than were cut are refused") {
  const TemporaryFolder folder;
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", kDocuments);
  written(folder, tokens, settings_of(9, 40));
  auto changed = kDocuments;
  changed[0].tokens = 99;
  write_numbered_tokens(folder / "tokens", changed);
  const auto error = error_of([&] { data::SequenceIndex::open(folder / "sequences"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("gca chunk"));
}

TEST_CASE("a flipped bit or a missing end in any file of the index is refused") {
  const TemporaryFolder folder;
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", kDocuments);
  data::ChunkSettings settings = settings_of(9, 40);
  settings.valid_fraction = 0.2;
  written(folder, tokens, settings);
  const auto is_refused = [&] {
    const auto error = error_of([&] { data::SequenceIndex::open(folder / "sequences"); });
    return error && error->is_usage();
  };
  for (const std::string name : {"index.json", "train.bin", "valid.bin"}) {
    CAPTURE(name);
    const std::string path = folder / ("sequences/" + name);
    const std::string content = read_file(path);
    REQUIRE(content.size() > 24);
    for (size_t byte = 0; byte < content.size() - 1; byte += 7) {
      std::string damaged = content;
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << byte % 8));
      testing::write_file(path, damaged);
      CAPTURE(byte);
      REQUIRE(is_refused());
    }
    testing::write_file(path, content.substr(0, content.size() - 24));
    CHECK(is_refused());
    fs::remove(path);
    CHECK(is_refused());
    testing::write_file(path, content);
    CHECK_FALSE(is_refused());
  }
}

TEST_CASE("damaged shards are found before they are cut") {
  const TemporaryFolder folder;
  write_numbered_tokens(folder / "tokens", kDocuments);
  const std::string path = folder / "tokens/tokens-00000.bin";
  std::string content = read_file(path);
  content[10] = static_cast<char>(content[10] ^ 1);
  testing::write_file(path, content);
  const data::TokenStore tokens = data::TokenStore::open(folder / "tokens");
  const auto error =
      error_of([&] { data::write_sequence_index(tokens, folder / "sequences", settings_of(9, 40)); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK_FALSE(fs::exists(folder / "sequences"));
}

TEST_CASE("settings out of range are refused by flag") {
  const TemporaryFolder folder;
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", kDocuments);
  const auto refused = [&](const data::ChunkSettings& settings, const std::string& flag) {
    const auto error = error_of([&] { data::write_sequence_index(tokens, folder / "sequences", settings); });
    return error && error->is_usage() && error->says(flag);
  };
  CHECK(refused(settings_of(1, 100), "--chunk-size"));
  CHECK(refused(settings_of(-3, 100), "--chunk-size"));
  CHECK(refused(settings_of(64, 10), "--context"));
  CHECK(refused(settings_of(2, 1), "--context"));
  for (const double fraction : {-0.1, 1.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    data::ChunkSettings settings = settings_of(9, 40);
    settings.valid_fraction = fraction;
    CHECK(refused(settings, "--valid-fraction"));
  }
  const data::TokenStore one = write_numbered_tokens(folder / "one", {{100, ""}});
  data::ChunkSettings settings = settings_of(9, 40);
  settings.valid_fraction = 0.5;
  const auto error = error_of([&] { data::write_sequence_index(one, folder / "sequences", settings); });
  REQUIRE(error);
  CHECK(error->says("--valid-fraction"));
}

TEST_CASE("an index does not replace the shards it was cut from") {
  const TemporaryFolder folder;
  const data::TokenStore tokens = write_numbered_tokens(folder / "tokens", kDocuments);
  CHECK(error_of([&] { data::write_sequence_index(tokens, folder / "tokens", settings_of(9, 40)); }));
  data::TokenStore::open(folder / "tokens").verify();
}
