#include "lib/model/text_model.h"

#include <fmt/format.h>
#include <algorithm>
#include <filesystem>
#include <utility>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/model/text_feeder.h"
#include "lib/text/tokenizer_file.h"

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

nlohmann::json read_json(const std::string& path) {
  if (!fs::exists(path)) return nullptr;
  return nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
}

/// What goes before every text, where config.json names a bos_token_id, as those of other programs do: what a
/// tokenizer.json says of itself; of a SentencePiece model that id, but where add_bos_token is false.
std::vector<int32_t> read_start_tokens(const std::string& folder, const text::Tokenizer& tokenizer) {
  const nlohmann::json config = read_json(folder + "/config.json");
  if (!config.is_object() || !config.contains("bos_token_id")) return {};
  if (text::is_tokenizer_json(tokenizer.serialized())) return tokenizer.prefix_ids();
  const nlohmann::json& id = config["bos_token_id"];
  if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= tokenizer.piece_count())
    return {};
  const nlohmann::json settings = read_json(folder + "/tokenizer_config.json");
  if (settings.is_object() && settings.contains("add_bos_token") && settings["add_bos_token"] == false)
    return {};
  return {id.get<int32_t>()};
}

/// eos_token_id of config.json, a number or a list, then what generation_config.json adds to it: those that are
/// pieces of the tokenizer.
std::vector<int32_t> read_end_tokens(const std::string& folder, int64_t pieces) {
  std::vector<int32_t> ids;
  const auto add = [&](const nlohmann::json& value) {
    if (!value.is_number_integer()) return;
    const auto id = value.get<int64_t>();
    const bool is_piece = id >= 0 && id < pieces;
    if (is_piece && std::find(ids.begin(), ids.end(), id) == ids.end())
      ids.push_back(static_cast<int32_t>(id));
  };
  for (const char* name : {"/config.json", "/generation_config.json"}) {
    const nlohmann::json config = read_json(folder + name);
    if (!config.is_object() || !config.contains("eos_token_id")) continue;
    const nlohmann::json& value = config["eos_token_id"];
    if (!value.is_array())
      add(value);
    else
      for (const nlohmann::json& one : value) add(one);
  }
  return ids;
}

}  // namespace

TextModel TextModel::open(const std::string& folder, const std::string& dtype, at::Device device,
                          WeightDtype weight_dtype) {
  const std::string checkpoint = find_checkpoint(folder, folder);
  LanguageModel model =
      load_model(checkpoint, dtype == "bf16" ? at::kBFloat16 : at::kFloat, device, weight_dtype);
  const std::string tokenizer_path = text::find_tokenizer_file(checkpoint);
  text::Tokenizer tokenizer = text::Tokenizer::load(tokenizer_path);
  const data::ChunkLayout layout = chunk_layout_of(model.config());
  const int64_t pieces = tokenizer.piece_count();
  if (model.config().vocab_size < pieces || (layout.has_landmarks() && layout.landmark_id < pieces)) {
    fail_usage(tokenizer_path,
               fmt::format("{} pieces do not fit a model of {} ids", pieces, model.config().vocab_size),
               "restore the tokenizer that this checkpoint was trained with");
  }
  std::vector<int32_t> end_tokens = read_end_tokens(checkpoint, pieces);
  const int32_t end_token = end_tokens.empty() ? -1 : end_tokens.front();
  const int64_t trained_context = std::max(read_trained_context(checkpoint), model.config().max_positions);
  std::vector<int32_t> start_tokens = read_start_tokens(checkpoint, tokenizer);
  return {checkpoint, std::move(model),      std::move(tokenizer),   trained_context,
          end_token,  std::move(end_tokens), std::move(start_tokens)};
}

void TextModel::require_tokenizer(const std::string& fingerprint, const std::string& where) const {
  if (fingerprint == tokenizer.fingerprint()) return;
  fail_usage(where,
             fmt::format("its tokens were made by tokenizer {:.12}, the model of {} reads those of {:.12}",
                         fingerprint, folder, tokenizer.fingerprint()),
             fmt::format("tokenize the text again with --tokenizer {}", text::find_tokenizer_file(folder)));
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
