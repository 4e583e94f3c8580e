#pragma once
// Models small enough to be trained when a test runs, and SentencePiece's own encoder to compare with.

#include <doctest/doctest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/core/files/atomic_file.h"
#include "lib/text/tokenizer.h"

inline std::string book_path(const std::string& name) {
  return std::string(GCA_SOURCE_DIR) + "/examples/books/" + name + ".txt";
}

/// A model as gca trains it, of one book.
inline const gca::text::Tokenizer& trained_tokenizer() {
  static const gca::text::Tokenizer tokenizer = [] {
    const std::vector<std::string> paths = {book_path("train/alices-adventures-in-wonderland")};
    return gca::text::Tokenizer::from_serialized(gca::text::train_tokenizer(paths, {.vocab_size = 1000}),
                                                 "test");
  }();
  return tokenizer;
}

/// A model of SentencePiece's trainer with settings of the test's own, on a few sentences.
inline std::string foreign_model(const std::unordered_map<std::string, std::string>& settings) {
  class Sentences : public sentencepiece::SentenceIterator {
   public:
    bool done() const override { return at_ == lines_.size(); }
    void Next() override { ++at_; }
    const std::string& value() const override { return lines_[at_]; }
    sentencepiece::util::Status status() const override { return {}; }

   private:
    std::vector<std::string> lines_ = {"the cat sat on the mat and the dog sat on the cat",
                                       "a cat and a dog and a mat", "dogs and cats on mats"};
    size_t at_ = 0;
  } sentences;
  auto all = settings;
  all.try_emplace("model_type", "bpe");
  all.try_emplace("hard_vocab_limit", "false");
  all.try_emplace("minloglevel", "3");
  std::string serialized;
  const auto status = sentencepiece::SentencePieceTrainer::Train(all, &sentences, &serialized);
  REQUIRE_MESSAGE(status.ok(), status.ToString());
  return serialized;
}

/// SentencePiece's own ids of the whole text.
inline std::vector<int32_t> reference_ids(const std::string& model, std::string_view text) {
  sentencepiece::SentencePieceProcessor processor;
  REQUIRE(processor.LoadFromSerializedProto(model).ok());
  std::vector<int> ids;
  REQUIRE(processor.Encode(text, &ids).ok());
  return {ids.begin(), ids.end()};
}
