#include <doctest/doctest.h>

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/core/files/atomic_file.h"
#include "lib/data/encode_documents.h"
#include "lib/text/forced_cut.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;

namespace {

const std::string kBook =
    std::string(GCA_SOURCE_DIR) + "/examples/books/train/alices-adventures-in-wonderland.txt";

const text::Tokenizer& tokenizer() {
  static const text::Tokenizer instance = [] {
    text::TokenizerTraining training;
    training.vocab_size = 700;
    training.sample_bytes = 100000;
    return text::Tokenizer::from_serialized(text::train_tokenizer(std::vector{kBook}, training), "trained");
  }();
  return instance;
}

/// Text with what is hard to cut: NUL, bytes that are not UTF-8, characters of several bytes, long words, many spaces.
std::string difficult_text() {
  std::string text = read_file(kBook).substr(0, 30000);
  const auto insert_at_line = [&](size_t near, const std::string& what) {
    text.insert(text.find('\n', near), what);
  };
  insert_at_line(5000, std::string("\0\xFF\xC3", 3));
  insert_at_line(12000, "\xE2\x82\xAC\xF0\x9F\x99\x82  \n\n\n   \t\r\n");
  insert_at_line(20000, std::string(3000, 'x'));
  return text.substr(0, text.rfind('\n')) + "no newline at the end";
}

struct Collected {
  std::vector<std::string> names;         ///< of the documents
  std::vector<std::vector<int32_t>> ids;  ///< by document
  std::vector<std::string> texts;
  std::vector<int> ends;
  text::TextFaults faults;
  int64_t blocks = 0;
  size_t most_block_bytes = 0;
};

Collected collect(const std::vector<std::string>& paths, const data::EncodeOptions& options) {
  Collected all;
  const text::InputFiles files = text::list_input_files(paths);
  text::DocumentSource source(files, {.invalid_utf8 = text::InvalidUtf8::keep});
  data::encode_documents(source, tokenizer(), options, [&](const data::EncodedBlock& block) {
    if (block.is_first) {
      if (!all.ends.empty()) CHECK(all.ends.back() == 1);
      all.names.emplace_back(block.name);
      all.ids.emplace_back();
      all.texts.emplace_back();
      all.ends.push_back(0);
    }
    REQUIRE_FALSE(all.ids.empty());
    CHECK(block.name == all.names.back());
    all.ids.back().insert(all.ids.back().end(), block.ids.begin(), block.ids.end());
    all.texts.back() += block.text;
    all.ends.back() += block.is_last;
    all.faults += block.faults;
    ++all.blocks;
    all.most_block_bytes = std::max(all.most_block_bytes, block.text.size());
  });
  for (const int ends : all.ends) CHECK(ends == 1);
  return all;
}

}  // namespace

TEST_CASE("blocks of any size on any number of threads give the ids of the whole text, in order") {
  const TemporaryFolder folder;
  const std::vector<std::string> texts = {difficult_text(), "", "short", std::string(1, '\0'),
                                          difficult_text() + "!"};
  std::vector<std::string> inputs;
  std::vector<std::vector<int32_t>> expected;
  text::TextFaults expected_faults;
  for (size_t i = 0; i < texts.size(); ++i) {
    inputs.push_back(folder / (std::to_string(i) + ".txt"));
    write_file_atomically(inputs.back(), texts[i]);
    expected.push_back(tokenizer().encode(texts[i], &expected_faults));
  }
  for (const int threads : {1, 3})
    for (const size_t block_bytes : {size_t{1}, size_t{100}, size_t{4096}, size_t{1} << 20}) {
      CAPTURE(threads);
      CAPTURE(block_bytes);
      const Collected all = collect(inputs, {threads, block_bytes});
      CHECK(all.names == inputs);
      CHECK(all.texts == texts);
      CHECK(all.ids == expected);
      CHECK(all.faults.nul_bytes == expected_faults.nul_bytes);
      CHECK(all.faults.invalid_utf8_bytes == expected_faults.invalid_utf8_bytes);
      if (block_bytes <= 4096) CHECK(all.blocks > 10);
    }
  CHECK(expected_faults.nul_bytes == 3);
  CHECK(expected_faults.invalid_utf8_bytes == 4);
}

TEST_CASE("a pipe gives the same ids as a file, though it comes in small pieces") {
  const TemporaryFolder folder;
  const std::string text = difficult_text();
  const std::string path = folder / "pipe";
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  for (const size_t block_bytes : {size_t{50}, size_t{1000}, size_t{1} << 20}) {
    std::thread feeder([&] {
      std::ofstream pipe(path, std::ios::binary);
      for (size_t i = 0; i < text.size(); i += 777) pipe << text.substr(i, 777) << std::flush;
    });
    const Collected all = collect({path}, {2, block_bytes});
    feeder.join();
    CHECK(all.texts.at(0) == text);
    CHECK(all.ids.at(0) == tokenizer().encode(text));
  }
}

TEST_CASE("a document without a safe cut is encoded in blocks of bounded size and loses nothing") {
  const TemporaryFolder folder;
  std::string text;
  while (text.size() < 7'000'000) text += "\xE6\xB2\xB3\xE7\x81\xAF";
  write_file_atomically(folder / "a.txt", text);
  const Collected all = collect({folder / "a.txt"}, {2});
  CHECK((all.texts.at(0) == text));
  CHECK(all.blocks >= 4);
  CHECK(all.most_block_bytes <= text::kMostBytesAtOnce);
  CHECK((tokenizer().decode(all.ids.at(0)) == text));
}

TEST_CASE("short documents are encoded many at a time, each with its own ids") {
  const TemporaryFolder folder;
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> ids;
  std::string lines;
  for (int i = 0; i < 5000; ++i) {
    texts.push_back(i % 7 == 0 ? "" : "Alice was number " + std::to_string(i));
    ids.push_back(tokenizer().encode(texts.back()));
    lines += nlohmann::json({{"text", texts.back()}}).dump() + "\n";
  }
  write_file_atomically(folder / "all.jsonl", lines);
  for (const size_t block_bytes : {size_t{1}, size_t{1000}, size_t{1} << 20}) {
    const Collected all = collect({folder / "all.jsonl"}, {3, block_bytes});
    CHECK((all.texts == texts));
    CHECK((all.ids == ids));
    CHECK(all.names.at(4999) == folder / "all.jsonl:5000");
  }
}

TEST_CASE("what the sink throws reaches the caller, with blocks still under way") {
  text::DocumentSource source(text::list_input_files(std::vector{kBook}), {});
  const auto error = error_of([&] {
    data::encode_documents(source, tokenizer(), {2, 1000},
                           [](const data::EncodedBlock&) { fail_run("sink", "is full"); });
  });
  REQUIRE(error);
  CHECK(error->says("is full"));
}

TEST_CASE("what the source throws reaches the caller, with blocks still under way") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a.txt", difficult_text());
  text::DocumentSource source(text::list_input_files(std::vector{kBook, folder / "a.txt"}), {});
  const auto error = error_of([&] {
    data::encode_documents(source, tokenizer(), {2, 1000}, [](const data::EncodedBlock&) {});
  });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("a.txt:"));
}
