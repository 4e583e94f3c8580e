// gca tokenize, through the binary.

#include <doctest/doctest.h>

#include <filesystem>
#include <sstream>

#include "tests/cli/tokenized_books.h"
#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"

namespace {

nlohmann::json report_in(const std::string& folder) {
  return nlohmann::json::parse(gca::read_file(folder + "/report.json"));
}

/// Whole books as ids, one line a book.
std::string printed_ids(const std::string& model, const std::vector<std::string>& inputs,
                        const std::string& threads, const std::string& standard_input = "") {
  std::vector<std::string> words = {"tokenize", "--print-ids", "--tokenizer", model, "--threads", threads};
  words.insert(words.end(), inputs.begin(), inputs.end());
  const ProcessResult result = run_gca(words, standard_input);
  INFO(result.err);
  REQUIRE(result.status == 0);
  return result.out;
}

/// The ids of a whole text as SentencePiece's own program gives them. It reads line by line; a newline is a
/// piece of its own in our models, so that the lines' ids with `newline_id` between them are those of the text.
std::string ids_by_spm_encode(const std::string& model, const std::string& path,
                              const std::string& newline_id) {
  const ProcessResult result = run_program({"spm_encode", "--model=" + model, "--output_format=id", path});
  REQUIRE(result.status == 0);
  std::istringstream lines(result.out);
  std::string all;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) all += line + " ";
    all += newline_id + " ";
  }
  all.pop_back();
  return all + "\n";
}

}  // namespace

TEST_CASE("the report counts what was read and is valid") {
  const TokenizedBooks books;
  const nlohmann::json report = report_in(books.tokens());
  CHECK(problems_of("tokenize", report) == "");
  const nlohmann::json& result = report["result"];
  CHECK(result["documents"] == 4);
  CHECK(result["bytes"] == books.whole_text().size());
  CHECK(result["vocab_size"] == 600);
  CHECK(result["nul_bytes"] == 0);
  const ProcessResult ids = run_gca({"tokenize", "--print-ids", "--tokenizer", books.model(),
                                     books.names()[0], books.names()[1], books.names()[2], books.names()[3]});
  std::istringstream words(ids.out);
  int64_t count = 0;
  for (std::string id; words >> id;) ++count;
  CHECK(result["tokens"] == count);
  CHECK(result["bytes_per_token"].get<double>() ==
        doctest::Approx(static_cast<double>(books.whole_text().size()) / static_cast<double>(count)));
}

TEST_CASE("--decode gives the bytes back") {
  const TokenizedBooks books;
  CHECK(run_gca({"tokenize", "--decode", books.tokens()}).out == books.whole_text());
}

TEST_CASE("NUL, invalid UTF-8, empty documents: counted, kept, given back") {
  const TokenizedBooks books;
  const std::string odd = std::string("a\0b\xFF\xFE", 5) + "\xE2\x82\xAC \r\n\t  end";
  gca::write_file_atomically(books / "empty.txt", "");
  const ProcessResult result =
      run_gca({"tokenize", "-", books / "empty.txt", books.names()[0], "--output", books / "odd",
               "--tokenizer", books.model(), "--json", "--invalid-utf8", "keep"},
              odd);
  REQUIRE(result.status == 0);
  const nlohmann::json report = result.json();
  CHECK(problems_of("tokenize", report) == "");
  CHECK(report["result"]["documents"] == 3);
  CHECK(report["result"]["nul_bytes"] == 1);
  CHECK(report["result"]["invalid_utf8_bytes"] == 2);
  CHECK(report["result"]["lossless"] == true);
  CHECK(report["result"]["bytes"] == odd.size() + books.texts()[0].size());
  CHECK(run_gca({"tokenize", "--decode", books / "odd"}).out == odd + books.texts()[0]);
}

TEST_CASE("nothing but empty files is still a folder of shards") {
  const TokenizedBooks books;
  const ProcessResult result =
      run_gca({"tokenize", "-", "--output", books / "none", "--tokenizer", books.model(), "--json"}, "");
  CHECK(result.status == 0);
  CHECK(result.json()["result"]["tokens"] == 0);
  CHECK(problems_of("tokenize", result.json()) == "");
  CHECK(run_gca({"tokenize", "--decode", books / "none"}).out == "");
}

TEST_CASE("--print-ids gives SentencePiece's own ids of a whole book, with any number of threads") {
  const TokenizedBooks books;
  const std::string path = TokenizedBooks::book_path();
  const std::string newline_id = [&] {
    const std::string line = printed_ids(books.model(), {"-"}, "1", "\n");
    return line.substr(0, line.size() - 1);
  }();
  const std::string one_thread = printed_ids(books.model(), {path}, "1");
  CHECK(printed_ids(books.model(), {path}, "3") == one_thread);
  CHECK(printed_ids(books.model(), {"-"}, "2", gca::read_file(path)) == one_thread);
  CHECK(printed_ids(books.model(), {path, "-", path}, "2", "") == one_thread + "\n" + one_thread);
  if (run_program({"sh", "-c", "command -v spm_encode"}).status != 0) {
    MESSAGE("spm_encode is not installed: not compared with it");
    return;
  }
  REQUIRE(gca::read_file(path).ends_with("\n"));
  CHECK(ids_by_spm_encode(books.model(), path, newline_id) == one_thread);
}

TEST_CASE("the same input gives the same shards, and a model trained twice is the same model") {
  const TokenizedBooks books;
  std::vector<std::string> words = {"tokenize",  "--output", books / "again", "--train-vocab", "600",
                                    "--threads", "1"};
  words.insert(words.end(), books.names().begin(), books.names().end());
  REQUIRE(run_gca(words).status == 0);
  for (const char* file : {"/index.json", "/tokenizer.model", "/tokens-00000.bin"})
    CHECK(gca::read_file(books / "again" + file) == gca::read_file(books.tokens() + file));
}

TEST_CASE("one of --tokenizer and --train-vocab, an output, and nothing beside --decode") {
  const TokenizedBooks books;
  const std::string book = books.names()[0];
  const auto refused = [&](std::vector<std::string> words, const std::string& flag) {
    words.insert(words.begin(), "tokenize");
    const ProcessResult result = run_gca(words);
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find(flag) != std::string::npos);
  };
  refused({book, "--output", books / "x"}, "--train-vocab");
  refused({book, "--output", books / "x", "--tokenizer", books.model(), "--train-vocab", "600"},
          "--train-vocab");
  refused({book, "--tokenizer", books.model()}, "--output");
  refused({book, "--tokenizer", books.model(), "--print-ids", "--output", books / "x"}, "--output");
  refused({book, "--decode", books.tokens()}, book);
  refused({"-", "--output", books / "x", "--train-vocab", "600"}, "-: can be read only once");
  refused({book, "--output", books / "x", "--tokenizer", book}, book);
  CHECK_FALSE(std::filesystem::exists(books / "x"));
}

TEST_CASE("a folder that gca did not write is not replaced") {
  const TokenizedBooks books;
  std::filesystem::create_directory(books / "precious");
  gca::write_file_atomically(books / "precious/thesis.tex", "years of work");
  const ProcessResult result =
      run_gca({"tokenize", books.names()[0], "--output", books / "precious", "--tokenizer", books.model()});
  CHECK(result.status == 2);
  CHECK(gca::read_file(books / "precious/thesis.tex") == "years of work");
}

TEST_CASE("the table goes to standard output, --quiet and --report are obeyed") {
  const TokenizedBooks books;
  const std::vector<std::string> words = {"tokenize",    books.names()[0], "--output",
                                          books / "out", "--tokenizer",    books.model()};
  const auto with = [&](const std::vector<std::string>& more) {
    auto all = words;
    all.insert(all.end(), more.begin(), more.end());
    return run_gca(all);
  };
  const ProcessResult plain = with({});
  CHECK(plain.out.find("1 document,") != std::string::npos);
  CHECK(plain.err == "");  // progress is for terminals
  CHECK(with({"--quiet"}).out == "");
  CHECK(with({"--report", books / "elsewhere.json", "--quiet"}).status == 0);
  CHECK(problems_of("tokenize", nlohmann::json::parse(gca::read_file(books / "elsewhere.json"))) == "");
  CHECK_FALSE(std::filesystem::exists(books / "out/report.json"));
}

TEST_CASE("a tokenizer.json gives the ids of the tokenizers library, and the folder carries it") {
  const std::string golden = GCA_SOURCE_DIR "/tests/golden/tokenizers/llama3";
  const TokenizedBooks books;
  for (const nlohmann::json& expected : nlohmann::json::parse(gca::read_file(golden + "/expected.json"))) {
    std::string line;
    for (const int32_t id : expected["ids"]) line += (line.empty() ? "" : " ") + std::to_string(id);
    CHECK(printed_ids(golden + "/tokenizer.json", {"-"}, "1", expected["text"].get<std::string>()) ==
          line + "\n");
  }
  std::vector<std::string> words = {"tokenize", "--tokenizer", golden, "--output", books / "json-tokens"};
  words.insert(words.end(), books.names().begin(), books.names().end());
  REQUIRE(run_gca(words).status == 0);
  CHECK(gca::read_file(books / "json-tokens/tokenizer.json") == gca::read_file(golden + "/tokenizer.json"));
  CHECK(problems_of("tokenize", report_in(books / "json-tokens")) == "");
  CHECK(run_gca({"tokenize", "--decode", books / "json-tokens"}).out == books.whole_text());
  // Over tokens of the other kind: only one tokenizer is left.
  words[2] = books.model();
  REQUIRE(run_gca(words).status == 0);
  CHECK(!std::filesystem::exists(books / "json-tokens/tokenizer.json"));
}

TEST_CASE("--tokenizer-type unigram trains another vocabulary that gives every text back") {
  const TokenizedBooks books;
  std::vector<std::string> words = {
      "tokenize", "--output", books / "unigram", "--tokenizer-type", "unigram", "--train-vocab", "600"};
  words.insert(words.end(), books.names().begin(), books.names().end());
  REQUIRE(run_gca(words).status == 0);
  const nlohmann::json report = report_in(books / "unigram");
  CHECK(problems_of("tokenize", report) == "");
  CHECK(report["result"]["lossless"] == true);
  CHECK(report["result"]["vocab_size"] == 600);
  CHECK(run_gca({"tokenize", "--decode", books / "unigram"}).out == books.whole_text());
  CHECK(gca::read_file(books / "unigram/tokenizer.model") != gca::read_file(books.model()));
  words = {"tokenize",    books.names()[0],   "--tokenizer", books.model(),
           "--print-ids", "--tokenizer-type", "bpe"};
  const ProcessResult result = run_gca(words);
  CHECK(result.status == 2);
  CHECK(result.err.find("--tokenizer-type") != std::string::npos);
}
