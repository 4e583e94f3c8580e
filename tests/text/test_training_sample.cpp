#include "lib/text/training_sample.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/core/files/atomic_file.h"
#include "tests/support/temporary_folder.h"

using namespace gca;

namespace {

/// The same by whole strings, as training_sample.h says it.
std::string plain_sample(const std::vector<std::string>& texts, const text::TokenizerTraining& training) {
  int64_t total = 0;
  for (const std::string& text : texts) total += static_cast<int64_t>(text.size());
  int64_t count = 1, bytes = total, stride = total, shift = 0;
  if (total > training.sample_bytes) {
    count = std::max<int64_t>(1, training.sample_bytes / 65536);
    bytes = std::min<int64_t>(65536, training.sample_bytes);
    stride = total / count;
    shift = static_cast<int64_t>(training.seed) % stride;
  }
  std::string sample;
  int64_t text_begin = 0;
  for (const std::string& text : texts) {
    const int64_t text_end = text_begin + static_cast<int64_t>(text.size());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t begin = std::max(i * stride + shift, text_begin);
      const int64_t end = std::min(i * stride + shift + bytes, text_end);
      if (begin >= end) continue;
      std::string block =
          text.substr(static_cast<size_t>(begin - text_begin), static_cast<size_t>(end - begin));
      if (end < text_end) block.resize(block.find_last_of(" \t\r\n") + 1);
      if (begin > text_begin) block.erase(0, block.find_first_of(" \t\r\n"));
      sample += block + "\n";
    }
    text_begin = text_end;
  }
  return sample;
}

}  // namespace

TEST_CASE("the sample is all of the text, or blocks of whole words at even distances over all documents") {
  const TemporaryFolder folder;
  const std::string book =
      read_file(std::string(GCA_SOURCE_DIR) + "/examples/books/train/alices-adventures-in-wonderland.txt");
  // Long and short ones, so that blocks end within documents, at their borders, and span several.
  const std::vector<std::string> texts = {
      book, "", "x", std::string(70000, 'y'), book.substr(0, 300), " word \n", book + "!", "two words"};
  std::vector<std::string> paths;
  std::string lines;
  for (const std::string& text : texts) {
    paths.push_back(folder / (std::to_string(paths.size()) + ".txt"));
    write_file_atomically(paths.back(), text);
    lines += nlohmann::json({{"text", text}}).dump() + "\n";
  }
  write_file_atomically(folder / "all.jsonl", lines);
  for (const int64_t sample_bytes : {1, 10, 5000, 65536, 100'000, 131'072, 200'000, 1'000'000})
    for (const uint64_t seed : {0, 1, 12345, 1 << 30}) {
      CAPTURE(sample_bytes);
      CAPTURE(seed);
      const text::TokenizerTraining training = {.vocab_size = 0, .sample_bytes = sample_bytes, .seed = seed};
      const std::string expected = plain_sample(texts, training);
      CHECK((text::sample_text(paths, training) == expected));
      CHECK((text::sample_text(std::vector{folder / "all.jsonl"}, training) == expected));
    }
}
