#pragma once
// A small random model with a real tokenizer.

#include <string>
#include <vector>

#include "lib/core/files/atomic_file.h"
#include "lib/model/text_model.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace gca::testing {

inline constexpr int64_t kPieces = 340;

/// A random model with a real tokenizer, trained on a page of text.
inline model::TextModel make_text_model(uint64_t seed, const std::string& long_range = "gca") {
  static const std::string serialized = [] {
    const TemporaryFolder folder;
    std::string text;
    for (int i = 0; i < 200; ++i)
      text += "line " + std::to_string(i) + ": the quick brown fox jumps over the lazy dog\n";
    write_file_atomically(folder / "page.txt", text);
    const std::vector<std::string> paths = {folder / "page.txt"};
    text::TokenizerTraining training;
    training.vocab_size = kPieces;
    return text::train_tokenizer(paths, training);
  }();
  text::Tokenizer tokenizer = text::Tokenizer::from_serialized(serialized, "test tokenizer");
  model::ModelConfig config = tiny_config();
  config.vocab_size = tokenizer.vocab_size_with_landmark();
  config.long_range = long_range;
  return {"", tiny_model(config, at::kFloat, seed), std::move(tokenizer), 0};
}

/// Text that only has pieces a text may have.
inline std::vector<int32_t> prompt_of(const model::TextModel& model, size_t tokens) {
  const std::vector<uint8_t> is_text = model.text_ids();
  std::vector<int32_t> prompt;
  for (const int32_t id : some_text(4 * static_cast<int64_t>(tokens), kPieces, static_cast<uint32_t>(tokens)))
    if (prompt.size() < tokens && is_text[static_cast<size_t>(id)]) prompt.push_back(id);
  return prompt;
}

}  // namespace gca::testing
