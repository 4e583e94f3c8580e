#include "lib/model/text_model.h"

#include <fmt/format.h>
#include <filesystem>
#include <utility>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/model/text_feeder.h"

namespace gca::model {
namespace {

namespace fs = std::filesystem;

/// train_config.context of trainer_state.json; 0 where the file or the field is missing.
int64_t read_trained_context(const std::string& folder) {
  const std::string path = folder + "/trainer_state.json";
  if (!fs::exists(path)) return 0;
  const auto state = nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  const nlohmann::json::json_pointer field("/train_config/context");
  if (!state.is_object() || !state.contains(field) || !state[field].is_number_integer()) return 0;
  return state[field].get<int64_t>();
}

/// eos_token_id of config.json, where it is a piece of the tokenizer; -1 where it is missing or null.
int32_t read_end_token(const std::string& folder, int64_t pieces) {
  const auto config =
      nlohmann::json::parse(read_file(folder + "/config.json"), nullptr, /*allow_exceptions=*/false);
  const auto end_token = config.find("eos_token_id");
  if (end_token == config.end() || !end_token->is_number_integer()) return -1;
  const auto id = end_token->get<int64_t>();
  return id >= 0 && id < pieces ? static_cast<int32_t>(id) : -1;
}

}  // namespace

TextModel TextModel::open(const std::string& folder, const std::string& dtype, at::Device device,
                          WeightDtype weight_dtype) {
  const std::string checkpoint = find_checkpoint(folder, folder);
  LanguageModel model =
      load_model(checkpoint, dtype == "bf16" ? at::kBFloat16 : at::kFloat, device, weight_dtype);
  text::Tokenizer tokenizer = text::Tokenizer::load(checkpoint + "/tokenizer.model");
  const data::ChunkLayout layout = chunk_layout_of(model.config());
  const int64_t pieces = tokenizer.piece_count();
  if (model.config().vocab_size < pieces || (layout.has_landmarks() && layout.landmark_id < pieces)) {
    fail_usage(checkpoint + "/tokenizer.model",
               fmt::format("{} pieces do not fit a model of {} ids", pieces, model.config().vocab_size),
               "restore the tokenizer that this checkpoint was trained with");
  }
  return {checkpoint, std::move(model), std::move(tokenizer), read_trained_context(checkpoint),
          read_end_token(checkpoint, pieces)};
}

void TextModel::require_tokenizer(const std::string& fingerprint, const std::string& where) const {
  if (fingerprint == tokenizer.fingerprint()) return;
  fail_usage(where,
             fmt::format("its tokens were made by tokenizer {:.12}, the model of {} reads those of {:.12}",
                         fingerprint, folder, tokenizer.fingerprint()),
             fmt::format("tokenize the text again with --tokenizer {}/tokenizer.model", folder));
}

std::vector<uint8_t> TextModel::text_ids() const {
  std::vector<uint8_t> is_text;
  for (const int32_t bytes : id_bytes()) is_text.push_back(bytes > 0);
  return is_text;
}

std::vector<int32_t> TextModel::id_bytes() const {
  std::vector<int32_t> bytes(static_cast<size_t>(model.config().vocab_size), 0);
  for (int32_t id = 0; id < tokenizer.piece_count(); ++id)
    bytes[static_cast<size_t>(id)] = static_cast<int32_t>(tokenizer.piece_bytes(id));
  return bytes;
}

}  // namespace gca::model
