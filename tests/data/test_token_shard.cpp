#include <doctest/doctest.h>

#include <filesystem>

#include "lib/core/files/atomic_file.h"
#include "lib/data/token_shard.h"
#include "tests/data/numbered_tokens.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

using namespace gca;
namespace fs = std::filesystem;

namespace {

const std::vector<NumberedDocument> kDocuments = {{5, ""}, {0, ""}, {7, ""}, {1, ""}, {20, ""}, {0, ""}};

std::string with_bit_flipped(std::string content, size_t byte, int bit) {
  content[byte] = static_cast<char>(content[byte] ^ (1 << bit));
  return content;
}

}  // namespace

TEST_CASE("every slice of every document is read back, in 16 and 32 bits, in one shard or many") {
  for (const int64_t piece_count : {65536, 70000})
    for (const int64_t tokens_per_shard : {1, 6, 1000}) {
      CAPTURE(piece_count);
      CAPTURE(tokens_per_shard);
      const TemporaryFolder folder;
      const data::TokenStore store =
          write_numbered_tokens(folder / "tokens", kDocuments, piece_count, tokens_per_shard);
      CHECK(store.token_count() == 33);
      CHECK(store.piece_count() == piece_count);
      REQUIRE(store.documents().size() == kDocuments.size());
      for (size_t d = 0; d < kDocuments.size(); ++d) {
        const auto document = static_cast<int64_t>(d);
        CHECK(store.documents()[d].tokens == kDocuments[d].tokens);
        CHECK(store.documents()[d].bytes == static_cast<int64_t>(store.documents()[d].name.size()));
        for (int64_t first = 0; first <= kDocuments[d].tokens; ++first)
          for (int64_t count = 0; first + count <= kDocuments[d].tokens; ++count) {
            std::vector<int32_t> ids(static_cast<size_t>(count), -1);
            store.read(document, first, ids);
            for (int64_t i = 0; i < count; ++i)
              REQUIRE(ids[static_cast<size_t>(i)] == first_id(kDocuments, document) + first + i);
          }
      }
      store.verify();
    }
}

TEST_CASE("reading past the end of a document is an error") {
  const TemporaryFolder folder;
  const data::TokenStore store = write_numbered_tokens(folder / "tokens", kDocuments);
  std::vector<int32_t> ids(2);
  CHECK(error_of([&] { store.read(0, 4, ids); }));
  CHECK(error_of([&] { store.read(0, -1, ids); }));
}

TEST_CASE("a folder without documents can be written and opened") {
  const TemporaryFolder folder;
  const data::TokenStore store = write_numbered_tokens(folder / "tokens", {});
  CHECK(store.token_count() == 0);
  CHECK(store.documents().empty());
}

TEST_CASE("shards are little-endian ids, back to back") {
  const TemporaryFolder folder;
  write_numbered_tokens(folder / "tokens", {{2, ""}, {1, ""}});
  CHECK(read_file(folder / "tokens/tokens-00000.bin") == std::string("\0\0\1\0\2\0", 6));
  write_numbered_tokens(folder / "wide", {{2, ""}, {1, ""}}, 65537);
  CHECK(read_file(folder / "wide/tokens-00000.bin") == std::string("\0\0\0\0\1\0\0\0\2\0\0\0", 12));
}

TEST_CASE("a flipped bit anywhere in the index is refused") {
  const TemporaryFolder folder;
  write_numbered_tokens(folder / "tokens", {{3, ""}, {2, ""}});
  const std::string path = folder / "tokens/index.json";
  const std::string content = read_file(path);
  for (size_t byte = 0; byte < content.size() - 1;
       byte += 3) {  // the last byte is a newline that means nothing
    CAPTURE(byte);
    testing::write_file(path, with_bit_flipped(content, byte, static_cast<int>(byte % 7)));
    const auto error = error_of([&] { data::TokenStore::open(folder / "tokens"); });
    REQUIRE(error);
    REQUIRE(error->is_usage());
  }
}

TEST_CASE("a truncated index or shard, and one with bytes too many, is refused by name") {
  const TemporaryFolder folder;
  write_numbered_tokens(folder / "tokens", kDocuments);
  for (const std::string name : {"index.json", "tokens-00000.bin"}) {
    const std::string path = folder / ("tokens/" + name);
    const std::string content = read_file(path);
    for (const std::string& damaged : {content.substr(0, content.size() / 2), std::string(), content + "x"}) {
      testing::write_file(path, damaged);
      const auto error = error_of([&] { data::TokenStore::open(folder / "tokens"); });
      REQUIRE(error);
      CHECK(error->is_usage());
      CHECK(error->says(name));
    }
    fs::remove(path);
    const auto error = error_of([&] { data::TokenStore::open(folder / "tokens"); });
    REQUIRE(error);
    CHECK(error->says(name));
    testing::write_file(path, content);
  }
  data::TokenStore::open(folder / "tokens");
}

TEST_CASE("a flipped bit anywhere in a shard is found by verify, and by the first read of its block") {
  const TemporaryFolder folder;
  constexpr int64_t kTokens = 600000;  // two blocks of 16-bit ids, the second not whole
  const std::vector<int32_t> ids(static_cast<size_t>(kTokens), 7);
  data::TokenWriter writer(folder / "tokens", kPretendedModel, sha256_hex(kPretendedModel), 100);
  writer.begin_document("one");
  writer.append(std::span(ids).subspan(0, 70001), "text");  // pieces that do not fit the blocks
  writer.append(std::span(ids).subspan(70001), "text");
  writer.end_document();
  writer.finish();
  const std::string path = folder / "tokens/tokens-00000.bin";
  const std::string content = read_file(path);
  REQUIRE(content.size() > static_cast<size_t>(data::kShardBlockBytes));
  std::vector<int32_t> read(1);
  for (const size_t byte : {size_t{0}, size_t{12345}, size_t{data::kShardBlockBytes} - 1,
                            size_t{data::kShardBlockBytes}, content.size() - 1}) {
    CAPTURE(byte);
    testing::write_file(path, with_bit_flipped(content, byte, 0));
    const data::TokenStore store = data::TokenStore::open(folder / "tokens");
    const auto found = error_of([&] { store.verify(); });
    REQUIRE(found);
    const bool is_second = byte >= size_t{data::kShardBlockBytes};
    const auto error = error_of([&] { store.read(0, is_second ? kTokens - 1 : 5, read); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says("tokens-00000.bin: is damaged"));
    store.read(0, is_second ? 5 : kTokens - 1, read);  // the other block is as it was
    CHECK(read[0] == 7);
  }
}

TEST_CASE("an id that the vocabulary has not is refused, also where the checksum vouches for it") {
  const TemporaryFolder folder;
  data::TokenWriter writer(folder / "tokens", kPretendedModel, sha256_hex(kPretendedModel), 100);
  writer.begin_document("one");
  writer.append(std::vector<int32_t>{1, 2, 100}, "text");
  writer.end_document();
  writer.finish();
  std::vector<int32_t> ids(3);
  const auto error = error_of([&] { data::TokenStore::open(folder / "tokens").read(0, 0, ids); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("id 100 of 100"));
}

TEST_CASE("another tokenizer beside the shards is refused") {
  const TemporaryFolder folder;
  write_numbered_tokens(folder / "tokens", kDocuments);
  testing::write_file(folder / "tokens/tokenizer.model", "another model");
  const auto error = error_of([&] { data::TokenStore::open(folder / "tokens"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("tokenizer.model"));
}

TEST_CASE("nothing is visible before finish, and nothing is left of a writer that never finished") {
  const TemporaryFolder folder;
  {
    data::TokenWriter writer(folder / "tokens", kPretendedModel, sha256_hex(kPretendedModel), 100);
    writer.begin_document("one");
    writer.append(std::vector<int32_t>{1, 2, 3}, "text");
    CHECK_FALSE(fs::exists(folder / "tokens"));
  }
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("only folders of our own are replaced") {
  const TemporaryFolder folder;
  const std::string path = folder / "tokens";
  const auto write = [&] { write_numbered_tokens(path, kDocuments); };
  fs::create_directory(path);
  write();  // an empty folder is taken
  write();  // our own is replaced
  testing::write_file(path + "/report.json", "{}");
  write();
  CHECK_FALSE(fs::exists(path + "/report.json"));

  testing::write_file(path + "/notes.txt", "precious");
  auto error = error_of(write);
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("notes.txt"));
  CHECK(read_file(path + "/notes.txt") == "precious");

  fs::remove_all(path);
  fs::create_directory(path);
  testing::write_file(path + "/notes.txt", "precious");
  CHECK(error_of(write));
  fs::remove_all(path);
  testing::write_file(path, "a file");
  CHECK(error_of(write));
  CHECK(read_file(path) == "a file");
}
