#pragma once
// Shards of a few pages, made by the binary itself.

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/run_gca.h"

class TokenizedBooks {
 public:
  TokenizedBooks() {
    const std::string book = gca::read_file(book_path());
    for (int i = 0; i < 4; ++i) {
      names_.push_back(folder_ / ("page-" + std::to_string(i) + ".txt"));
      texts_.push_back(book.substr(static_cast<size_t>(i) * 20000, 15000 + 1000 * static_cast<size_t>(i)));
      gca::write_file_atomically(names_.back(), texts_.back());
    }
    std::vector<std::string> words = {"tokenize", "--output", tokens(), "--train-vocab", "600", "--quiet"};
    words.insert(words.end(), names_.begin(), names_.end());
    const ProcessResult result = run_gca(words);
    INFO(result.err);
    REQUIRE(result.status == 0);
  }

  static std::string book_path() {
    return std::string(GCA_SOURCE_DIR) + "/examples/books/train/alices-adventures-in-wonderland.txt";
  }

  std::string operator/(const std::string& name) const { return folder_ / name; }
  std::string tokens() const { return folder_ / "tokens"; }
  std::string model() const { return tokens() + "/tokenizer.model"; }
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<std::string>& texts() const { return texts_; }
  std::string whole_text() const {
    std::string all;
    for (const std::string& text : texts_) all += text;
    return all;
  }

 private:
  TemporaryFolder folder_;
  std::vector<std::string> names_, texts_;
};
