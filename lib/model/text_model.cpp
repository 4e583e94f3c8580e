#include "lib/model/text_model.h"

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/model/text_feeder.h"

namespace gca {

TextModel TextModel::open(const std::string& folder, at::ScalarType compute_dtype) {
  TextModel opened{folder, load_model(folder, compute_dtype), Tokenizer::load(folder + "/tokenizer.model")};
  const int64_t pieces = opened.tokenizer.piece_count();
  const ModelConfig& config = opened.model.config();
  const ChunkLayout layout = chunk_layout_of(config);
  if (config.vocab_size < pieces || (layout.has_landmarks() && layout.landmark_id < pieces)) {
    fail_usage(folder + "/tokenizer.model",
               fmt::format("{} pieces do not fit a model of {} ids", pieces, config.vocab_size),
               "put back the tokenizer that this checkpoint was trained with");
  }
  return opened;
}

void TextModel::require_tokenizer(const std::string& fingerprint, const std::string& where) const {
  if (fingerprint == tokenizer.fingerprint()) return;
  fail_usage(where,
             fmt::format("its tokens were made by tokenizer {:.12}, the model of {} reads those of {:.12}",
                         fingerprint, folder, tokenizer.fingerprint()),
             fmt::format("tokenize the text again with --tokenizer {}/tokenizer.model", folder));
}

std::vector<uint8_t> TextModel::text_ids() const {
  std::vector<uint8_t> is_text(static_cast<size_t>(model.config().vocab_size), 0);
  for (int64_t id = 0; id < tokenizer.piece_count(); ++id)
    is_text[static_cast<size_t>(id)] = tokenizer.piece_bytes(static_cast<int32_t>(id)) > 0;
  return is_text;
}

}  // namespace gca
