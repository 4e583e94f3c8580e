#include "lib/text/tokenizer.h"

#include <doctest/doctest.h>

#include <fstream>
#include <numeric>
#include <random>

#include "lib/text/forced_cut.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/text/small_models.h"

using namespace gca;

namespace {

const std::string kSpaceSymbol = "\xE2\x96\x81";

int64_t bytes_of(const text::Tokenizer& tokenizer, std::span<const int32_t> ids) {
  return std::accumulate(ids.begin(), ids.end(), int64_t{0},
                         [&](int64_t sum, int32_t id) { return sum + tokenizer.piece_bytes(id); });
}

void check_round_trip(const text::Tokenizer& tokenizer, const std::string& text) {
  const auto ids = tokenizer.encode(text);
  REQUIRE(tokenizer.decode(ids) == text);
  REQUIRE(bytes_of(tokenizer, ids) == static_cast<int64_t>(text.size()));
  REQUIRE(tokenizer.encode_parallel(text, 2) == ids);
}

std::string random_text(std::mt19937& random, const std::vector<std::string>& parts, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += parts[random() % parts.size()];
  return text;
}

}  // namespace

TEST_CASE("every string of bytes comes back") {
  const text::Tokenizer& tokenizer = trained_tokenizer();
  REQUIRE(tokenizer.is_lossless());
  std::mt19937 random(1);
  check_round_trip(tokenizer, "");
  for (int byte = 0; byte < 256; ++byte) check_round_trip(tokenizer, std::string(1, static_cast<char>(byte)));
  for (int trial = 0; trial < 300; ++trial) {
    std::string text(random() % 200, '\0');
    for (char& byte : text) byte = static_cast<char>(random());
    check_round_trip(tokenizer, text);
  }
  const std::vector<std::string> parts = {" ",
                                          "  ",
                                          "\n",
                                          "\t",
                                          "\r\n",
                                          "\0a",
                                          "the",
                                          "Alice",
                                          "\x80",
                                          "\xE2",
                                          "\x96",
                                          "\x81",
                                          kSpaceSymbol,
                                          "\xC3\xA9",
                                          "\xF0\x9F\x90\x87",
                                          "<s>",
                                          "<unk>",
                                          "<0x41>",
                                          "\xEF\xBF\xBD",
                                          "\xED\xA0\x80",
                                          std::string(1, '\0')};
  for (int trial = 0; trial < 300; ++trial) check_round_trip(tokenizer, random_text(random, parts, 40));
}

TEST_CASE("faults are counted") {
  text::TextFaults faults;
  const std::string text = std::string("a\0b\0c", 5) + "\xFF" + "x" + "\xE2\x96" + "y" + kSpaceSymbol + "z";
  trained_tokenizer().encode(text, &faults);
  CHECK(faults.nul_bytes == 2);
  CHECK(faults.invalid_utf8_bytes == 3);
  CHECK(faults.unknown_tokens == 0);
  trained_tokenizer().encode_parallel(text, 2, &faults);
  CHECK(faults.nul_bytes == 4);
}

TEST_CASE("U+2581 is not a space") {
  const text::Tokenizer& tokenizer = trained_tokenizer();
  CHECK(tokenizer.encode("a" + kSpaceSymbol + "b") != tokenizer.encode("a b"));
  CHECK(tokenizer.decode(tokenizer.encode("a" + kSpaceSymbol + " b")) == "a" + kSpaceSymbol + " b");
}

TEST_CASE("whole books have SentencePiece's own ids with any number of threads") {
  const text::Tokenizer& tokenizer = trained_tokenizer();
  for (const char* name : {"train/alices-adventures-in-wonderland", "valid/the-red-badge-of-courage"}) {
    CAPTURE(name);
    const std::string text = read_file(book_path(name));
    const auto expected = reference_ids(tokenizer.serialized(), text);
    REQUIRE(tokenizer.encode(text) == expected);
    for (const int threads : {1, 2, 5}) REQUIRE(tokenizer.encode_parallel(text, threads) == expected);
    REQUIRE(tokenizer.decode(expected) == text);
    REQUIRE(bytes_of(tokenizer, expected) == static_cast<int64_t>(text.size()));
  }
}

TEST_CASE("ids of short texts of spaces and newlines are SentencePiece's own") {
  const text::Tokenizer& tokenizer = trained_tokenizer();
  std::mt19937 random(2);
  const std::vector<std::string> parts = {" ",     "   ",  "\n",   "\n\n",     "\t",   "a",
                                          "Alice", "the ", "1865", "\xC3\xA9", "\r\n", "<s>"};
  for (int trial = 0; trial < 500; ++trial) {
    const std::string text = random_text(random, parts, 1 + random() % 20);
    CAPTURE(text);
    REQUIRE(tokenizer.encode(text) == reference_ids(tokenizer.serialized(), text));
  }
}

TEST_CASE("a safe cut changes no token") {
  const text::Tokenizer& tokenizer = trained_tokenizer();
  const std::string text = read_file(book_path("train/alices-adventures-in-wonderland")).substr(3000, 1500) +
                           "\n\n    indented   \n \n";
  const auto whole = reference_ids(tokenizer.serialized(), text);
  size_t cuts = 0;
  for (size_t limit = 1; limit < text.size(); ++limit) {
    const size_t cut = tokenizer.safe_cut(text, limit);
    if (cut == text.size()) continue;
    REQUIRE(cut <= limit);
    if (cut != limit) continue;
    ++cuts;
    auto ids = reference_ids(tokenizer.serialized(), text.substr(0, cut));
    const auto rest = reference_ids(tokenizer.serialized(), text.substr(cut));
    ids.insert(ids.end(), rest.begin(), rest.end());
    REQUIRE(ids == whole);
  }
  CHECK(cuts > 200);  // about one a word
}

TEST_CASE("a text without a safe cut is encoded as a whole") {
  const text::Tokenizer& tokenizer = trained_tokenizer();
  const std::string text(200'000, 'a');
  CHECK(tokenizer.safe_cut(text, 1000) == text.size());
  CHECK(tokenizer.encode_parallel(text, 2) == reference_ids(tokenizer.serialized(), text));
  CHECK(tokenizer.safe_cut("ab", 2) == 2);
  CHECK(tokenizer.safe_cut("", 0) == 0);
}

TEST_CASE("models of other settings give SentencePiece's ids and are cut only where that is exact") {
  const std::unordered_map<std::string, std::string> exact = {{"normalization_rule_name", "identity"},
                                                              {"add_dummy_prefix", "false"},
                                                              {"remove_extra_whitespaces", "false"}};
  const auto with = [&](std::unordered_map<std::string, std::string> settings) {
    settings.insert(exact.begin(), exact.end());
    return settings;
  };
  const struct {
    const char* name;
    std::unordered_map<std::string, std::string> settings;
    bool is_lossless;
    bool cuts_at_space;
    bool cuts_at_newline;
  } cases[] = {
      {"nfkc", {{"vocab_size", "60"}}, false, false, false},
      {"dummy prefix",
       {{"vocab_size", "320"}, {"byte_fallback", "true"}, {"normalization_rule_name", "identity"}},
       false,
       false,
       false},
      {"dummy prefix, spaces as they are",
       {{"vocab_size", "320"},
        {"byte_fallback", "true"},
        {"normalization_rule_name", "identity"},
        {"remove_extra_whitespaces", "false"}},
       false,
       true,
       true},
      {"dummy suffix",
       {{"vocab_size", "320"},
        {"byte_fallback", "true"},
        {"normalization_rule_name", "identity"},
        {"remove_extra_whitespaces", "false"},
        {"treat_whitespace_as_suffix", "true"}},
       false,
       false,
       false},
      {"no byte fallback", with({{"vocab_size", "60"}}), false, true, false},
      {"unigram", with({{"vocab_size", "300"}, {"model_type", "unigram"}, {"byte_fallback", "true"}}), true,
       false, false},
      {"across spaces",
       with({{"vocab_size", "340"}, {"byte_fallback", "true"}, {"split_by_whitespace", "false"}}), true,
       false, true},
      {"newline leads",
       with({{"vocab_size", "320"}, {"byte_fallback", "true"}, {"user_defined_symbols", "\nx"}}), true, true,
       false},
  };
  std::string text;
  for (int i = 0; i < 9000; ++i)
    text += i % 7 == 0 ? "the cat sat,\n" : i % 5 == 0 ? "on  a \xC3\xA9#mat" : " dogs";
  for (const auto& test : cases) {
    CAPTURE(test.name);
    const std::string model = foreign_model(test.settings);
    const text::Tokenizer tokenizer = text::Tokenizer::from_serialized(model, "test");
    CHECK(tokenizer.is_lossless() == test.is_lossless);
    CHECK(tokenizer.safe_cut("abc def", 6) == (test.cuts_at_space ? 3 : 7));
    CHECK(tokenizer.safe_cut("abc\ndef", 6) == (test.cuts_at_newline ? 4 : 7));
    const auto expected = reference_ids(model, text);
    CHECK(tokenizer.encode(text) == expected);
    CHECK(tokenizer.encode_parallel(text, 2) == expected);
    if (test.is_lossless) CHECK(tokenizer.decode(expected) == text);
  }
}

TEST_CASE("a model that puts a space before a text puts none where the text goes on after a safe cut") {
  const std::string model = foreign_model({{"vocab_size", "320"},
                                           {"byte_fallback", "true"},
                                           {"normalization_rule_name", "identity"},
                                           {"remove_extra_whitespaces", "false"}});
  const text::Tokenizer tokenizer = text::Tokenizer::from_serialized(model, "test");
  for (const std::string text :
       {"the cat sat\non  the\n\n mat and the  dog ", " the cat", "\nthe cat", "  \n \n", "cat"}) {
    const auto whole = reference_ids(model, text);
    REQUIRE(whole != reference_ids(model, "x" + text));
    size_t cuts = 0;
    for (size_t limit = 1; limit < text.size(); ++limit) {
      const size_t cut = tokenizer.safe_cut(text, limit);
      if (cut == text.size()) continue;
      ++cuts;
      auto ids = tokenizer.encode(text.substr(0, cut));
      const auto rest = tokenizer.encode(text.substr(cut), nullptr, /*goes_on=*/true);
      ids.insert(ids.end(), rest.begin(), rest.end());
      CHECK(ids == whole);
    }
    CHECK((cuts > 0) == (text.find_first_of(" \n", 1) != std::string::npos));
  }
}

TEST_CASE("a forced cut changes no token of models that have no piece across a space") {
  const std::unordered_map<std::string, std::string> models[] = {
      {{"vocab_size", "60"}},                             // byte pairs, NFKC
      {{"vocab_size", "60"}, {"model_type", "unigram"}},  // what SentencePiece makes by default
      {{"vocab_size", "300"},
       {"model_type", "unigram"},
       {"byte_fallback", "true"},
       {"remove_extra_whitespaces", "false"},
       {"normalization_rule_name", "identity"}}};
  std::string text;
  while (text.size() < 3000) text += "the cat  sat,\n on a \xC3\xA9 mat and dogs ";
  for (const auto& settings : models) {
    const std::string model = foreign_model(settings);
    const text::Tokenizer tokenizer = text::Tokenizer::from_serialized(model, "test");
    REQUIRE(tokenizer.safe_cut(text, 1000) == text.size());
    const auto whole = reference_ids(model, text);
    for (size_t limit = 1000; limit < 1050; ++limit) {
      const size_t cut = text::forced_cut(text.substr(0, limit));
      REQUIRE(cut < limit);
      auto ids = tokenizer.encode(text.substr(0, cut));
      const auto rest = tokenizer.encode(text.substr(cut), nullptr, /*goes_on=*/true);
      ids.insert(ids.end(), rest.begin(), rest.end());
      CHECK(ids == whole);
    }
  }
}

TEST_CASE("where nothing better is near, a cut falls between two characters and loses nothing") {
  std::string text;
  while (text.size() < 3 * text::kMostBytesAtOnce) text += "\xE6\xB2\xB3\xE7\x81\xAF";
  const text::Tokenizer& tokenizer = trained_tokenizer();
  const size_t cut = text::forced_cut(text);
  CHECK(cut % 3 == 0);
  CHECK((tokenizer.decode(tokenizer.encode_parallel(text, 2)) == text));
}

TEST_CASE("without byte fallback what is lost is counted") {
  const text::Tokenizer tokenizer =
      text::Tokenizer::from_serialized(foreign_model({{"vocab_size", "60"}}), "test");
  text::TextFaults faults;
  const auto ids = tokenizer.encode(std::string("cat\0dog\xFF#", 9), &faults);
  CHECK(faults.nul_bytes == 1);
  CHECK(faults.invalid_utf8_bytes == 1);
  CHECK(faults.unknown_tokens == 3);
  CHECK(tokenizer.decode(ids).find("cat") != std::string::npos);
}

TEST_CASE("the landmark comes after the pieces and stands for no text") {
  const text::Tokenizer& tokenizer = trained_tokenizer();
  CHECK(tokenizer.piece_count() == 1000);
  CHECK(tokenizer.landmark_id() == 1000);
  CHECK(tokenizer.vocab_size_with_landmark() == 1001);
  const auto table = tokenizer.piece_bytes_table();
  REQUIRE(table.size() == 1001);
  for (size_t id = 0; id < table.size(); ++id)
    REQUIRE(table[id] == tokenizer.piece_bytes(static_cast<int32_t>(id)));
  const int32_t landmark = 1000, bos = 1, eos = 2;
  for (const int32_t silent : {landmark, bos, eos}) {
    CHECK(table[static_cast<size_t>(silent)] == 0);
    CHECK(tokenizer.decode(std::vector<int32_t>{silent}).empty());
  }
  for (const int32_t id : {-1, 1001})
    CHECK(error_of([&] { tokenizer.decode(std::vector<int32_t>{id}); })->is_usage());
}

TEST_CASE("a damaged or missing model is refused by name") {
  const TemporaryFolder folder;
  CHECK(error_of([&] { text::Tokenizer::load(folder / "missing"); })->is_usage());
  const std::string& model = trained_tokenizer().serialized();
  for (const std::string& damaged :
       {std::string(), std::string("no model"), model.substr(0, 1000), model.substr(7)}) {
    std::ofstream(folder / "model", std::ios::binary) << damaged;
    const auto error = error_of([&] { text::Tokenizer::load(folder / "model"); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says(folder / "model"));
  }

  // A byte of value 0 in a piece: SentencePiece would end the program.
  std::string zeroed = model;
  const size_t piece = zeroed.find("the");
  REQUIRE(piece != std::string::npos);
  zeroed[piece + 1] = '\0';
  const auto error = error_of([&] { text::Tokenizer::from_serialized(zeroed, "zeroed"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("zeroed"));
  // The same behind an unknown group (field 4), which a reader of protocol buffers passes over.
  const auto hidden =
      error_of([&] { text::Tokenizer::from_serialized("\x23\x30\x31\x24" + zeroed, "hidden"); });
  REQUIRE(hidden);
  CHECK(hidden->is_usage());
  CHECK(hidden->says("hidden"));

  std::ofstream(folder / "model", std::ios::binary) << model;
  CHECK(text::Tokenizer::load(folder / "model").fingerprint() == trained_tokenizer().fingerprint());
}
