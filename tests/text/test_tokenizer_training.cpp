#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/text/small_models.h"

using namespace gca;

namespace {

std::string train(const std::vector<std::string>& paths, const text::TokenizerTraining& training) {
  return text::train_tokenizer(paths, training);
}

/// The largest vocabulary that these files give, as the error of a larger one tells.
int64_t possible_vocabulary(const std::vector<std::string>& paths) {
  const auto error = error_of([&] { train(paths, {.vocab_size = 4096}); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("--train-vocab"));
  const size_t at = error->message.find("at most ");
  REQUIRE(at != std::string::npos);
  return std::stoll(error->message.substr(at + 8));
}

bool has_piece(const std::string& model, const std::string& text) {
  const text::Tokenizer tokenizer = text::Tokenizer::from_serialized(model, "test");
  return tokenizer.encode(text).size() == 1;
}

}  // namespace

TEST_CASE("training gives the vocabulary asked for, the same each time") {
  const std::vector<std::string> paths = {book_path("train/alices-adventures-in-wonderland")};
  const std::string model = train(paths, {.vocab_size = 1000});
  CHECK(model == train(paths, {.vocab_size = 1000}));
  CHECK(text::Tokenizer::from_serialized(model, "test").piece_count() == 1000);
  CHECK(has_piece(model, " Alice"));
  CHECK(has_piece(model, "\n"));
  CHECK_FALSE(has_piece(model, "12"));
  // Learned from this very text: well above two bytes a token.
  const std::string text = read_file(paths[0]);
  CHECK(trained_tokenizer().encode(text).size() * 2 < text.size());
}

TEST_CASE("a sample is spread over all files and bounded") {
  const TemporaryFolder folder;
  std::vector<std::string> paths;
  for (const std::string word : {"alpha", "beta", "gamma", "delta"}) {
    paths.push_back(folder / word);
    std::ofstream file(paths.back());
    for (int i = 0; i < 60'000; ++i) file << word << (i % 12 == 0 ? '\n' : ' ');
  }
  const std::string model =
      train(paths, {.vocab_size = possible_vocabulary(paths) - 4, .sample_bytes = 300'000, .seed = 5});
  for (const char* word : {" alpha", " beta", " gamma", " delta"}) CHECK(has_piece(model, word));
}

TEST_CASE("texts that a trainer stumbles over") {
  const TemporaryFolder folder;
  const std::string path = folder / "text";
  const auto model_of = [&](const std::string& text, int64_t vocab_size) {
    std::ofstream(path, std::ios::binary) << text;
    return train({path}, {.vocab_size = vocab_size, .source = {.invalid_utf8 = text::InvalidUtf8::keep}});
  };
  std::string tabs, one_line, damaged, rare;
  for (int i = 0; i < 500; ++i) {
    tabs += "one\ttwo\tthree\n";
    one_line += "one two three ";
    damaged += std::string("one\0two\xFF three\xE2\x96\x81", 17);
    rare += "one two ";
    for (int k = 0; k < 5; ++k)
      rare += {'\xE4', static_cast<char>(0xB8 + i % 6), static_cast<char>(0x80 + (i * 5 + k) % 64)};
  }
  for (const std::string& text : {tabs, one_line, damaged, rare}) {
    const std::string model = model_of(text, 275);
    const text::Tokenizer tokenizer = text::Tokenizer::from_serialized(model, "test");
    CHECK(tokenizer.is_lossless());
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
    CHECK((has_piece(model, "one") || has_piece(model, " one")));
  }
  CHECK(text::Tokenizer::from_serialized(model_of("withoutanyspace\n" + std::string(50, 'x'), 270), "test")
            .is_lossless());
}

TEST_CASE("a vocabulary that cannot be is refused with one that can") {
  const TemporaryFolder folder;
  const std::string path = folder / "text";
  std::ofstream(path) << "one two three one two three\n";
  const int64_t possible = possible_vocabulary({path});
  CHECK(text::Tokenizer::from_serialized(train({path}, {.vocab_size = possible}), "test").piece_count() ==
        possible);

  CHECK(error_of([&] { train({path}, {.vocab_size = 100}); })->is_usage());
  CHECK(error_of([&] { train({folder / "missing"}, {.vocab_size = 300}); })->says("missing"));
  std::ofstream(path, std::ios::trunc).flush();
  CHECK(error_of([&] { train({path}, {.vocab_size = 300}); })->is_usage());
}
