#include "lib/text/byte_level_bpe/tokenizer_json.h"

#include <nlohmann/json.hpp>

#include "lib/core/error.h"

namespace gca::text {

// Of the library's ByteLevel (pre_tokenizers/byte_level.rs), which has it from GPT-2.
const char* const kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

using nlohmann::json;

constexpr const char* kDigitPattern = R"(\p{N})";

class Parser {
 public:
  Parser(const std::string& text, std::string where)
      : where_(std::move(where)), file_(json::parse(text, nullptr, /*allow_exceptions=*/false)) {
    if (!file_.is_object()) fail_usage(where_, "is not JSON", "it may be truncated: copy it again");
  }

  TokenizerJson parse() {
    for (const char* part : {"truncation", "padding"})
      if (!member(file_, part).is_null()) refuse(part, "not supported");
    read_model(member(file_, "model"));
    read_added_tokens(member(file_, "added_tokens"));
    read_normalizer(member(file_, "normalizer"));
    read_pre_tokenizer(member(file_, "pre_tokenizer"));
    read_post_processor(member(file_, "post_processor"));
    if (const json& decoder = member(file_, "decoder"); type_of(decoder) != "ByteLevel")
      refuse("decoder", type_of(decoder) + " is not supported");
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(const std::string& part, const std::string& what) const {
    fail_usage(where_, part + ": " + what,
               "give a tokenizer.json of byte-level BPE (ByteLevel pre-tokenizer and decoder), or a "
               "tokenizer.model");
  }

  [[noreturn]] void refuse_damage(const std::string& part, const std::string& what) const {
    fail_usage(where_, part + ": " + what, "the file is damaged: copy it again");
  }

  /// null where it is missing.
  static const json& member(const json& object, const char* name) {
    static const json kNull;
    if (!object.is_object()) return kNull;
    const auto found = object.find(name);
    return found == object.end() ? kNull : *found;
  }

  /// The "type" of a part, for decisions and for messages.
  static std::string type_of(const json& part) {
    if (part.is_null()) return "none";
    const json& type = member(part, "type");
    return type.is_string() ? type.get<std::string>() : "a part without a type";
  }

  bool flag(const json& part, const char* name, bool otherwise, const std::string& where) const {
    const json& value = member(part, name);
    if (value.is_null()) return otherwise;
    if (!value.is_boolean()) refuse_damage(where, std::string(name) + " is neither true nor false");
    return value.get<bool>();
  }

  const json& list(const json& part, const char* name, const std::string& where) const {
    const json& value = member(part, name);
    if (!value.is_array()) refuse_damage(where, std::string(name) + " is not a list");
    return value;
  }

  int32_t read_id(const json& value, const std::string& where) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX)
      refuse_damage(where, value.dump(-1, ' ', false, json::error_handler_t::replace) + " is not an id");
    return value.get<int32_t>();
  }

  void read_model(const json& model) {
    // Files of early versions leave the type out.
    if (!model.is_object() || (model.contains("type") && type_of(model) != "BPE"))
      refuse("model", (model.is_object() ? type_of(model) : "none") + " is not supported");
    if (flag(model, "byte_fallback", false, "model")) refuse("model", "byte_fallback is not supported");
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const json& value = member(model, affix); !value.is_null() && value != "")
        refuse("model", std::string(affix) + " is not supported");
    if (const json& dropout = member(model, "dropout"); !dropout.is_null() && dropout != 0)
      refuse("model", "dropout is not supported");
    if (const json& unknown = member(model, "unk_token"); unknown.is_string())
      result_.unknown_token = unknown.get<std::string>();
    if (!result_.unknown_token.empty() && flag(model, "fuse_unk", false, "model"))
      refuse("model", "fuse_unk is not supported");
    result_.ignores_merges = flag(model, "ignore_merges", false, "model");
    const json& vocab = member(model, "vocab");
    if (!vocab.is_object()) refuse_damage("model", "vocab is not an object");
    result_.vocab.reserve(vocab.size());
    for (const auto& [token, id] : vocab.items())
      result_.vocab.emplace_back(token, read_id(id, "model: vocab"));
    const json& merges = list(model, "merges", "model");
    result_.merges.reserve(merges.size());
    for (const json& merge : merges) read_merge(merge);
  }

  /// "a b" or ["a", "b"].
  void read_merge(const json& merge) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      result_.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      return;
    }
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
        result_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
        return;
      }
    }
    refuse_damage("model", "merge " + std::to_string(result_.merges.size()) + " is no pair of tokens");
  }

  void read_added_tokens(const json& tokens) {
    if (tokens.is_null()) return;
    if (!tokens.is_array()) refuse_damage("added_tokens", "is not a list");
    for (const json& token : tokens) {
      const json& content = member(token, "content");
      if (!content.is_string() || content.get_ref<const std::string&>().empty())
        refuse_damage("added_tokens", "an entry has no content");
      AddedToken added;
      added.text = content.get<std::string>();
      const std::string where = "added_tokens: \"" + added.text + "\"";
      added.id = read_id(member(token, "id"), where);
      for (const char* rule : {"single_word", "lstrip", "rstrip"})
        if (flag(token, rule, false, where)) refuse(where, std::string(rule) + " is not supported");
      added.is_special = flag(token, "special", false, where);
      added.is_normalized = flag(token, "normalized", !added.is_special, where);
      result_.added_tokens.push_back(std::move(added));
    }
  }

  void read_normalizer(const json& normalizer) {
    if (normalizer.is_null()) return;
    const std::string type = type_of(normalizer);
    if (type == "Sequence") {
      for (const json& step : list(normalizer, "normalizers", "normalizer")) read_normalizer(step);
    } else if (type == "NFC") {
      result_.normalizes_nfc = true;
    } else {
      refuse("normalizer", type + " is not supported");
    }
  }

  void read_pre_tokenizer(const json& pre_tokenizer) {
    if (type_of(pre_tokenizer) != "Sequence") {
      read_byte_level(pre_tokenizer);
      return;
    }
    const json& steps = list(pre_tokenizer, "pretokenizers", "pre_tokenizer");
    if (steps.empty()) refuse("pre_tokenizer", "none is not supported");
    for (size_t i = 0; i + 1 < steps.size(); ++i) read_split(steps[i]);
    read_byte_level(steps.back());
  }

  void read_split(const json& step) {
    const std::string type = type_of(step);
    if (type == "Digits") {
      if (!flag(step, "individual_digits", false, "pre_tokenizer"))
        refuse("pre_tokenizer", "Digits without individual_digits is not supported");
      result_.split_patterns.emplace_back(kDigitPattern);
      return;
    }
    if (type != "Split") refuse("pre_tokenizer", type + " is not supported here");
    if (member(step, "behavior") != "Isolated")
      refuse("pre_tokenizer", "Split with another behavior than Isolated is not supported");
    if (flag(step, "invert", false, "pre_tokenizer"))
      refuse("pre_tokenizer", "Split with invert is not supported");
    const json& regex = member(member(step, "pattern"), "Regex");
    if (!regex.is_string()) refuse("pre_tokenizer", "Split by another pattern than a Regex is not supported");
    result_.split_patterns.push_back(regex.get<std::string>());
  }

  void read_byte_level(const json& step) {
    if (type_of(step) != "ByteLevel") refuse("pre_tokenizer", type_of(step) + " is not supported here");
    // The library's default.
    if (flag(step, "add_prefix_space", true, "pre_tokenizer"))
      refuse("pre_tokenizer", "ByteLevel with add_prefix_space is not supported");
    if (flag(step, "use_regex", true, "pre_tokenizer"))
      result_.split_patterns.emplace_back(kByteLevelPattern);
  }

  void read_post_processor(const json& processor) {
    const std::string type = type_of(processor);
    if (processor.is_null() || type == "ByteLevel") return;  // that one changes offsets only
    if (type == "Sequence") {
      for (const json& step : list(processor, "processors", "post_processor")) read_post_processor(step);
      return;
    }
    if (type != "TemplateProcessing") refuse("post_processor", type + " is not supported");
    if (!result_.prefix_ids.empty()) refuse("post_processor", "two templates are not supported");
    bool is_after_text = false;
    for (const json& piece : list(processor, "single", "post_processor")) {
      if (const json& sequence = member(piece, "Sequence"); !sequence.is_null()) {
        if (member(sequence, "id") != "A" || is_after_text)
          refuse("post_processor", "a template with more than one text is not supported");
        is_after_text = true;
        continue;
      }
      const json& name = member(member(piece, "SpecialToken"), "id");
      if (!name.is_string()) refuse_damage("post_processor", "the template has a piece of no known kind");
      if (is_after_text) refuse("post_processor", "a template with a token after the text is not supported");
      const json& special =
          member(member(processor, "special_tokens"), name.get_ref<const std::string&>().c_str());
      for (const json& id : list(special, "ids", "post_processor"))
        result_.prefix_ids.push_back(read_id(id, "post_processor"));
    }
    if (!is_after_text) refuse_damage("post_processor", "the template has no text");
  }

  std::string where_;
  json file_;
  TokenizerJson result_;
};

}  // namespace

TokenizerJson parse_tokenizer_json(const std::string& text, const std::string& where) {
  return Parser(text, where).parse();
}

}  // namespace gca::text
