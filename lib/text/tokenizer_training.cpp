// train_tokenizer(): a sample of the documents, made into sentences, given to SentencePiece's trainer.

#include <fmt/format.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "lib/core/error.h"
#include "lib/core/utf8.h"
#include "lib/text/sentencepiece/plain_text.h"
#include "lib/text/tokenizer.h"
#include "lib/text/training_sample.h"

namespace gca::text {
namespace {

constexpr const char* kVocabFlag = "--train-vocab";
/// SentencePiece skips longer sentences; ours are cut.
constexpr size_t kMaxSentenceBytes = 4000;
/// <unk>, <s>, </s>, the newline and the 256 byte pieces.
constexpr int64_t kFixedPieces = 3 + 1 + 256;
/// SentencePiece's advice for rich scripts.
constexpr double kCharacterCoverage = 0.9995;

/// Cuts before the limit at a space where there is one, never within a character.
size_t sentence_cut(std::string_view sentence) {
  if (sentence.size() <= kMaxSentenceBytes) return sentence.size();
  const std::string_view front = sentence.substr(0, kMaxSentenceBytes);
  const size_t space = front.rfind(' ');
  return space != std::string_view::npos && space > 0 ? space : complete_utf8_prefix(front);
}

/// Plain stretches between newlines. Tabs and U+2585 end a sentence, too: the trainer uses them itself and
/// would leave out a sentence that has one.
std::vector<std::string_view> split_sentences(std::string_view text) {
  constexpr std::string_view kTrainersUnknown = "\xE2\x96\x85";
  std::vector<std::string_view> sentences;
  const auto add = [&](std::string_view sentence) {
    while (!sentence.empty()) {
      const size_t cut = sentence_cut(sentence);
      sentences.push_back(sentence.substr(0, cut));
      sentence.remove_prefix(cut);
    }
  };
  const auto add_lines = [&](std::string_view plain) {
    size_t begin = 0;
    for (size_t at = 0; at < plain.size(); ++at) {
      const bool is_trainers = plain.substr(at).starts_with(kTrainersUnknown);
      if (plain[at] != '\n' && plain[at] != '\t' && !is_trainers) continue;
      add(plain.substr(begin, at - begin));
      begin = at + (is_trainers ? kTrainersUnknown.size() : 1);
    }
    add(plain.substr(begin));
  };
  while (!text.empty()) {
    const size_t plain = plain_prefix(text);
    add_lines(text.substr(0, plain));
    text.remove_prefix(plain);
    if (!text.empty()) text.remove_prefix(special_prefix(text).size());
  }
  return sentences;
}

/// The characters that get pieces of their own: the most frequent ones up to kCharacterCoverage of the text,
/// but no more than half of the vocabulary; the others stay bytes.
std::unordered_set<std::string_view> frequent_characters(std::span<const std::string_view> sentences,
                                                         int64_t vocab_size) {
  std::unordered_map<std::string_view, int64_t> count_of_character;
  int64_t total = 0;
  for (std::string_view sentence : sentences) {
    for (; !sentence.empty(); ++total) {
      const size_t length = first_utf8_sequence(sentence).length;
      ++count_of_character[sentence.substr(0, length)];
      sentence.remove_prefix(length);
    }
  }
  std::vector<std::pair<int64_t, std::string_view>> ranking;  // by falling count, ties by code point
  for (const auto& [character, count] : count_of_character) ranking.emplace_back(-count, character);
  std::sort(ranking.begin(), ranking.end());

  const auto most = static_cast<size_t>(std::max<int64_t>(1, (vocab_size - kFixedPieces) / 2));
  std::unordered_set<std::string_view> frequent;
  int64_t covered = 0;
  for (const auto& [negative_count, character] : ranking) {
    if (frequent.size() == most ||
        static_cast<double>(covered) >= kCharacterCoverage * static_cast<double>(total))
      break;
    frequent.insert(character);
    covered -= negative_count;
  }
  return frequent;
}

/// The stretches of `sentences` between characters that are not in `frequent`. (The trainer's own
/// character_coverage does the same, but takes nothing below 0.98.)
std::vector<std::string_view> split_at_rare_characters(std::span<const std::string_view> sentences,
                                                       const std::unordered_set<std::string_view>& frequent) {
  std::vector<std::string_view> stretches;
  const auto add = [&](std::string_view stretch) {
    if (!stretch.empty()) stretches.push_back(stretch);
  };
  for (const std::string_view sentence : sentences) {
    size_t begin = 0;
    for (size_t at = 0; at < sentence.size();) {
      const std::string_view rest = sentence.substr(at);
      const size_t length = first_utf8_sequence(rest).length;
      if (!frequent.contains(rest.substr(0, length))) {
        add(sentence.substr(begin, at - begin));
        begin = at + length;
      }
      at += length;
    }
    add(sentence.substr(begin));
  }
  return stretches;
}

class SentenceList : public sentencepiece::SentenceIterator {
 public:
  explicit SentenceList(std::span<const std::string_view> sentences) : sentences_(sentences) { load(); }
  bool done() const override { return at_ >= sentences_.size(); }
  void Next() override {
    ++at_;
    load();
  }
  const std::string& value() const override { return value_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void load() {
    if (!done()) value_ = sentences_[at_];
  }
  std::span<const std::string_view> sentences_;
  size_t at_ = 0;
  std::string value_;
};

}  // namespace

std::string train_tokenizer(std::span<const std::string> paths, const TokenizerTraining& training) {
  const int64_t vocab_size = training.vocab_size;
  constexpr int64_t kLeast = kFixedPieces + 4, kMost = int64_t{1} << 20;
  if (vocab_size < kLeast || vocab_size > kMost)
    fail_usage(
        kVocabFlag, fmt::format("{} pieces are out of range", vocab_size),
        fmt::format("ask for {} to {}: {} are taken by single bytes and signs", kLeast, kMost, kFixedPieces));

  const std::string sample = sample_text(paths, training);
  std::vector<std::string_view> sentences = split_sentences(sample);
  sentences = split_at_rare_characters(sentences, frequent_characters(sentences, vocab_size));
  if (sentences.empty())
    fail_usage(kVocabFlag, "the inputs hold no text to learn from", "give files of UTF-8 text");

  // A required character that never occurs would end the process.
  const auto has_space = [](std::string_view sentence) {
    return sentence.find(' ') != std::string_view::npos;
  };
  if (std::none_of(sentences.begin(), sentences.end(), has_space)) sentences.push_back(" ");

  const std::unordered_map<std::string, std::string> settings = {
      {"model_type", training.algorithm == TokenizerAlgorithm::bpe ? "bpe" : "unigram"},
      {"vocab_size", std::to_string(vocab_size)},
      {"hard_vocab_limit", "false"},  // too few pieces are an error of ours, below
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"allow_whitespace_only_pieces", "true"},  // indentation
      {"split_digits", "true"},                  // a number is its digits, wherever it stands
      {"user_defined_symbols", "\n"},
      {"required_chars", std::string(kSpaceSymbol)},
      {"character_coverage", "1.0"},  // rare ones are out already
      {"num_threads", "1"},
      {"minloglevel", "3"},
  };
  SentenceList list(sentences);
  std::string serialized;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &list, &serialized);
  if (!status.ok()) fail_run(kVocabFlag, "SentencePiece's trainer: " + std::string(status.message()));

  const int64_t trained = Tokenizer::from_serialized(serialized, kVocabFlag).piece_count();
  if (trained < vocab_size)
    fail_usage(kVocabFlag, fmt::format("the text gives {} pieces, not {}", trained, vocab_size),
               fmt::format("ask for at most {}, or give more text", trained));
  return serialized;
}

}  // namespace gca::text
