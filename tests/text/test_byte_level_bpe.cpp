// Byte-level BPE (tokenizer.json), held to the ids of the `tokenizers` library in tests/golden/tokenizers.

#include <doctest/doctest.h>

#include <chrono>
#include <climits>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "lib/core/files/atomic_file.h"
#include "lib/text/tokenizer.h"
#include "lib/text/tokenizer_file.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using nlohmann::json;

namespace {

const std::string kGolden = GCA_SOURCE_DIR "/tests/golden/tokenizers/";
constexpr const char* kNames[] = {"gpt2", "smollm", "llama3", "qwen2"};

json file_of(const std::string& name) {
  return json::parse(read_file(kGolden + name + "/tokenizer.json"));
}

text::Tokenizer tokenizer_of(const json& file) {
  return text::Tokenizer::from_serialized(file.dump(), "test.json");
}

/// A tokenizer of the golden files without special tokens: it gives every text back.
text::Tokenizer lossless_tokenizer(const std::string& name) {
  json file = file_of(name);
  file["added_tokens"] = json::array();
  file["post_processor"] = nullptr;
  return tokenizer_of(file);
}

/// With merges of spaces, digits and signs, so that another cut into pieces gives other ids.
json with_more_merges(json file) {
  int32_t next_id = 402;
  const auto add = [&](const std::string& left, const std::string& right) {
    file["model"]["merges"].push_back({left, right});
    auto& vocab = file["model"]["vocab"];
    if (!vocab.contains(left + right)) vocab[left + right] = next_id++;
  };
  const std::string space = "\xC4\xA0", newline = "\xC4\x8A", carriage_return = "\xC4\x8D", tab = "\xC4\x89";
  for (const std::string& left : {space, newline, carriage_return, tab})
    for (const std::string& right : {space, newline, carriage_return, tab}) add(left, right);
  add(space + space, space);
  add(newline + newline, newline);
  for (const char* pair : {"12", "34", "45", "!?", "?!", "77", "aa", "'l", "'S"})
    add(std::string(1, pair[0]), std::string(1, pair[1]));
  add("12", "3");
  return file;
}

std::string random_text(std::mt19937& random, size_t count) {
  const std::vector<std::string> parts = {" ",
                                          "  ",
                                          "\n",
                                          "\r\n\r\n",
                                          "\t",
                                          "the",
                                          "Alice",
                                          "'ll",
                                          "'S",
                                          "12345",
                                          "7",
                                          "\xC3\xA9",
                                          "e\xCC\x81",
                                          "\xE6\xB2\xB3",
                                          "\xE3\x80\x80",
                                          "\xC2\xA0",
                                          "!?",
                                          "\xF0\x9F\x90\x87",
                                          "\x80",
                                          "\xE2\x96",
                                          "\xFF",
                                          "<|end|>",
                                          "<|en",
                                          "<|begin_of_text|>",
                                          std::string(1, '\0'),
                                          "aaaa",
                                          "\xE2\x84\xAA",
                                          "\xCC\x81"};
  std::string text;
  for (size_t i = 0; i < count; ++i) text += parts[random() % parts.size()];
  return text;
}

std::vector<int32_t> ids_in_parts(const text::Tokenizer& tokenizer, std::string_view text,
                                  std::mt19937& random, size_t& cuts) {
  std::vector<int32_t> ids;
  while (!text.empty()) {
    const size_t cut = tokenizer.safe_cut(text, 1 + random() % 40);
    cuts += cut < text.size() ? 1 : 0;
    const auto part = tokenizer.encode(text.substr(0, cut), nullptr, /*goes_on=*/true);
    ids.insert(ids.end(), part.begin(), part.end());
    text.remove_prefix(cut);
  }
  return ids;
}

}  // namespace

TEST_CASE("ids are those of the tokenizers library") {
  for (const std::string name : kNames) {
    const text::Tokenizer tokenizer = text::Tokenizer::load(kGolden + name + "/tokenizer.json");
    const json cases = json::parse(read_file(kGolden + name + "/expected.json"));
    REQUIRE(cases.size() == 17);
    for (const json& expected : cases) {
      const std::string text = expected["text"];
      CAPTURE(name);
      CAPTURE(text);
      const auto ids = tokenizer.encode(text);
      CHECK(ids == expected["plain_ids"].get<std::vector<int32_t>>());
      auto with_prefix = tokenizer.prefix_ids();
      with_prefix.insert(with_prefix.end(), ids.begin(), ids.end());
      CHECK(with_prefix == expected["ids"].get<std::vector<int32_t>>());
    }
  }
}

TEST_CASE("the ids of the SentencePiece model of the golden files are SentencePiece's") {
  const text::Tokenizer tokenizer = text::Tokenizer::load(kGolden + "llama2/tokenizer.model");
  for (const json& expected : json::parse(read_file(kGolden + "llama2/expected.json"))) {
    const auto ids = tokenizer.encode(expected["text"].get<std::string>());
    CHECK(ids == expected["plain_ids"].get<std::vector<int32_t>>());
    auto with_start = std::vector<int32_t>{tokenizer.start_id()};
    with_start.insert(with_start.end(), ids.begin(), ids.end());
    CHECK(with_start == expected["ids"].get<std::vector<int32_t>>());
  }
}

TEST_CASE("a tokenizer.json is known by its content, and found in a folder") {
  const TemporaryFolder folder;
  const std::string content = read_file(kGolden + "gpt2/tokenizer.json");
  write_file_atomically(folder / "any.name", content);
  CHECK(text::Tokenizer::load(folder / "any.name").piece_count() == 402);
  CHECK(text::tokenizer_file_name(content) == "tokenizer.json");
  CHECK(text::tokenizer_file_name(read_file(kGolden + "llama2/tokenizer.model")) == "tokenizer.model");

  CHECK(text::find_tokenizer_file(folder / "") == (folder / "") + "/tokenizer.model");
  write_file_atomically(folder / "tokenizer.json", content);
  CHECK(text::find_tokenizer_file(folder / "") == (folder / "") + "/tokenizer.json");
  write_file_atomically(folder / "tokenizer.model", "");
  CHECK(text::find_tokenizer_file(folder / "") == (folder / "") + "/tokenizer.model");
}

TEST_CASE("without special tokens and normaliser every string of bytes comes back") {
  std::mt19937 random(1);
  for (const std::string name : {"gpt2", "smollm", "llama3"}) {
    CAPTURE(name);
    const text::Tokenizer tokenizer = lossless_tokenizer(name);
    REQUIRE(tokenizer.is_lossless());
    for (int trial = 0; trial < 200; ++trial) {
      std::string text(random() % 200, '\0');
      for (char& byte : text) byte = static_cast<char>(random());
      if (trial % 2 == 0) text = random_text(random, 30);
      const auto ids = tokenizer.encode(text);
      REQUIRE(tokenizer.decode(ids) == text);
      size_t bytes = 0;
      for (const int32_t id : ids) bytes += static_cast<size_t>(tokenizer.piece_bytes(id));
      REQUIRE(bytes == text.size());
    }
  }
  CHECK(!tokenizer_of(file_of("gpt2")).is_lossless());
  CHECK(!lossless_tokenizer("qwen2").is_lossless());
}

TEST_CASE("a text that is cut where it is safe gives the same ids") {
  std::mt19937 random(2);
  for (const std::string name : kNames) {
    CAPTURE(name);
    const text::Tokenizer tokenizer = tokenizer_of(with_more_merges(file_of(name)));
    size_t cuts = 0;
    for (int trial = 0; trial < 200; ++trial) {
      const std::string text = random_text(random, 60);
      const auto whole = tokenizer.encode(text);
      CAPTURE(text);
      REQUIRE(ids_in_parts(tokenizer, text, random, cuts) == whole);
    }
    CHECK(cuts > 700);
    std::string text;
    while (text.size() < 300'000) text += random_text(random, 100);
    CHECK(tokenizer.encode_parallel(text, 2) == tokenizer.encode(text));
  }
}

TEST_CASE("a pattern that looks behind a match, or may match nothing, allows no cut") {
  for (const std::string pattern : {R"(\b\w+)", R"((?<=a) |\S+)", R"(^ *\S+)", R"(\S*)", R"(\G.)"}) {
    json file = file_of("llama3");
    file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern;
    const std::string text = "one two  three four";
    CHECK(tokenizer_of(file).safe_cut(text, 10) == text.size());
  }
}

TEST_CASE("a long piece takes n log n steps") {
  const text::Tokenizer tokenizer = text::Tokenizer::load(kGolden + "gpt2/tokenizer.json");
  const auto seconds_of = [&](size_t size) {
    std::string text;
    while (text.size() < size) text += "theandaheinonther";
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer.encode(text);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    CHECK((tokenizer.decode(ids) == text));
    return elapsed.count();
  };
  // A quadratic loop would take 256 times as long, hours for the longer one.
  seconds_of(size_t{1} << 14);
  CHECK(seconds_of(size_t{1} << 22) < 60);
}

TEST_CASE("the merges of a long piece are those of the plain definition") {
  const json file = file_of("gpt2");
  std::map<std::pair<std::string, std::string>, int> ranks;
  for (const auto& merge : file["model"]["merges"])
    ranks.emplace(std::pair(merge[0], merge[1]), ranks.size());
  const text::Tokenizer tokenizer = tokenizer_of(file);
  std::mt19937 random(4);
  for (const size_t size : {3, 20, 47, 48, 49, 50, 200}) {
    std::vector<std::string> pieces;
    for (size_t i = 0; i < size; ++i) pieces.emplace_back(1, "theandio"[random() % 8]);
    std::string text;
    for (const std::string& piece : pieces) text += piece;
    while (true) {  // the lowest rank, leftmost, one merge after another
      size_t best = pieces.size();
      int best_rank = INT_MAX;
      for (size_t i = 0; i + 1 < pieces.size(); ++i)
        if (const auto found = ranks.find({pieces[i], pieces[i + 1]});
            found != ranks.end() && found->second < best_rank)
          best = i, best_rank = found->second;
      if (best == pieces.size()) break;
      pieces[best] += pieces[best + 1];
      pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    std::vector<int32_t> expected;
    for (const std::string& piece : pieces) expected.push_back(file["model"]["vocab"][piece]);
    CHECK(tokenizer.encode(text) == expected);
  }
}

TEST_CASE("special tokens are cut out and not printed, others are printed") {
  json file = file_of("gpt2");
  file["added_tokens"][1]["content"] = "</s>";
  file["added_tokens"].push_back(
      {{"id", 402}, {"content", "<tool>"}, {"special", false}, {"normalized", false}});
  file["added_tokens"].push_back(
      {{"id", 403}, {"content", "<tool>s"}, {"special", false}, {"normalized", true}});
  file["added_tokens"].push_back(
      {{"id", 404}, {"content", "<tool>>"}, {"special", false}, {"normalized", false}});
  const text::Tokenizer tokenizer = tokenizer_of(file);
  CHECK(tokenizer.end_id() == 401);
  CHECK(tokenizer.start_id() == -1);
  const auto ids = tokenizer.encode("a</s><tool>><tool>s");
  CHECK(ids == std::vector<int32_t>{tokenizer.encode("a")[0], 401, 404, 402, tokenizer.encode("s")[0]});
  CHECK(tokenizer.decode(ids) == "a<tool>><tool>s");
  CHECK(tokenizer.piece_bytes(401) == 0);
  CHECK(tokenizer.piece_bytes(404) == 7);
  CHECK(tokenizer.piece_bytes(tokenizer.landmark_id()) == 0);
  CHECK(error_of([&] { tokenizer.decode(std::vector<int32_t>{406}); })->is_usage());
}

TEST_CASE("bytes without a token are the unknown token, or left out, and counted") {
  json file = file_of("gpt2");
  auto& vocab = file["model"]["vocab"];
  const int32_t id_of_z = vocab["Z"];
  vocab.erase("Z");
  vocab["<unk>"] = id_of_z;
  text::TextFaults faults;
  CHECK(tokenizer_of(file).encode("aZb", &faults) == tokenizer_of(file).encode("ab"));
  CHECK(faults.unknown_tokens == 1);
  file["model"]["unk_token"] = "<unk>";
  const text::Tokenizer tokenizer = tokenizer_of(file);
  CHECK(tokenizer.encode("ZZ") == std::vector<int32_t>{id_of_z, id_of_z});
  CHECK(tokenizer.unknown_id() == id_of_z);
}

TEST_CASE("faults are counted") {
  text::TextFaults faults;
  tokenizer_of(file_of("llama3")).encode(std::string("a\0b\xFF\xE2\x96 c", 8), &faults);
  CHECK(faults.nul_bytes == 1);
  CHECK(faults.invalid_utf8_bytes == 3);
  CHECK(faults.unknown_tokens == 0);
}

TEST_CASE("what is not supported is refused by its name") {
  const struct {
    const char* named;
    std::function<void(json&)> change;
  } cases[] = {
      {"model: WordPiece", [](json& file) { file["model"]["type"] = "WordPiece"; }},
      {"model: byte_fallback", [](json& file) { file["model"]["byte_fallback"] = true; }},
      {"model: dropout", [](json& file) { file["model"]["dropout"] = 0.1; }},
      {"model: end_of_word_suffix", [](json& file) { file["model"]["end_of_word_suffix"] = "</w>"; }},
      {"model: vocab", [](json& file) { file["model"]["vocab"] = 3; }},
      {"model: unk_token", [](json& file) { file["model"]["unk_token"] = "<unk>"; }},
      {"model: merge 144", [](json& file) { file["model"]["merges"].push_back("a b c"); }},
      {"model: a merge has the token", [](json& file) { file["model"]["merges"].push_back("q zzz"); }},
      {"400000000", [](json& file) { file["model"]["vocab"]["!"] = 400000000; }},
      {"two tokens", [](json& file) { file["model"]["vocab"]["!"] = 7; }},
      {"truncation",
       [](json& file) {
         file["truncation"] = {{"max_length", 5}};
       }},
      {"normalizer: NFKC",
       [](json& file) {
         file["normalizer"] = {{"type", "NFKC"}};
       }},
      {"pre_tokenizer: Metaspace",
       [](json& file) {
         file["pre_tokenizer"] = {{"type", "Metaspace"}};
       }},
      {"pre_tokenizer: none", [](json& file) { file["pre_tokenizer"] = nullptr; }},
      {"add_prefix_space",
       [](json& file) { file["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; }},
      {"behavior", [](json& file) { file["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; }},
      {"invert", [](json& file) { file["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; }},
      {"Regex",
       [](json& file) {
         file["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"String", " "}};
       }},
      {"missing closing parenthesis",
       [](json& file) { file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; }},
      {"individual_digits",
       [](json& file) {
         file["pre_tokenizer"]["pretokenizers"][0] = {{"type", "Digits"}};
       }},
      {"post_processor: RobertaProcessing",
       [](json& file) {
         file["post_processor"] = {{"type", "RobertaProcessing"}};
       }},
      {"after the text",
       [](json& file) {
         auto& single = file["post_processor"]["single"];
         single.push_back(single[0]);
       }},
      {"decoder: WordPiece",
       [](json& file) {
         file["decoder"] = {{"type", "WordPiece"}};
       }},
      {"lstrip", [](json& file) { file["added_tokens"][0]["lstrip"] = true; }},
      {"another id", [](json& file) { file["added_tokens"][0]["content"] = "a"; }},
  };
  for (const auto& test : cases) {
    CAPTURE(test.named);
    json file = file_of("llama3");
    test.change(file);
    const auto error = error_of([&] { tokenizer_of(file); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says("test.json"));
    CHECK(error->says(test.named));
    CHECK(error->message.find('\n') == std::string::npos);
  }
  const std::string content = read_file(kGolden + "llama3/tokenizer.json");
  for (size_t size = 1; size < content.size(); size += 997) {
    const auto error =
        error_of([&] { text::Tokenizer::from_serialized(content.substr(0, size), "test.json"); });
    REQUIRE(error);
    CHECK(error->is_usage());
  }
}

TEST_CASE("other spellings of the same file give the same ids") {
  const std::string text = "Hello world, it's 1234 na\xC3\xAFve\n\n cats";
  const auto ids = tokenizer_of(file_of("llama3")).encode(text);
  json strings = file_of("llama3");
  for (json& merge : strings["model"]["merges"])
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  CHECK(tokenizer_of(strings).encode(text) == ids);
  json untyped = file_of("llama3");
  untyped["model"].erase("type");
  untyped["model"]["end_of_word_suffix"] = "";
  CHECK(tokenizer_of(untyped).encode(text) == ids);
  json processors = file_of("llama3");
  processors["post_processor"] = {
      {"type", "Sequence"},
      {"processors", json::array({{{"type", "ByteLevel"}}, file_of("llama3")["post_processor"]})}};
  CHECK(tokenizer_of(processors).prefix_ids() == std::vector<int32_t>{400});
}
