#include "lib/text/byte_level_bpe/gguf_tokenizer.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/core/error.h"
#include "lib/core/utf8.h"

namespace gca::text {
namespace {

using nlohmann::json;

/// llama.cpp's numbers of the kinds of tokens that are cut out of a text.
enum class TokenKind : int64_t { control = 3, user_defined = 4 };

json byte_level(bool uses_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", uses_regex}};
}

json split(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

json sequence(json first, json last) {
  return {{"type", "Sequence"}, {"pretokenizers", json::array({std::move(first), std::move(last)})}};
}

/// What a value of tokenizer.ggml.pre means: how its tokenizer.json says it, and whether <bos> goes before a
/// text where the file does not say.
struct PreTokenizer {
  const char* name;
  json (*make)();
  bool normalizes_nfc;
  bool ignores_merges;
  bool adds_start;
};

// The patterns are those of the models' own tokenizer.json.
const PreTokenizer kPreTokenizers[] = {
    {"gpt-2", [] { return byte_level(true); }, false, false, false},
    {"smollm",
     [] {
       return sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level(true));
     },
     false, false, false},
    {"llama-bpe",
     [] {
       return sequence(split(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
                             R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
                       byte_level(false));
     },
     false, true, true},
    {"qwen2",
     [] {
       return sequence(split(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                             R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
                       byte_level(false));
     },
     true, false, false},
};

const PreTokenizer& find_pre_tokenizer(const GgufFile& file) {
  const std::string& name = file.text("tokenizer.ggml.pre");
  std::string known;
  for (const PreTokenizer& pre : kPreTokenizers) {
    if (name == pre.name) return pre;
    known += (known.empty() ? "" : ", ") + std::string(pre.name);
  }
  fail_usage(file.path(), "tokenizer.ggml.pre " + name + " is not supported",
             "those that are: " + known + "; or use the model's tokenizer.json");
}

/// JSON holds UTF-8 only.
void require_utf8(const GgufFile& file, const std::string& key, const std::vector<std::string>& texts) {
  for (size_t i = 0; i < texts.size(); ++i)
    if (valid_utf8_prefix(texts[i]) != texts[i].size())
      fail_usage(file.path(), "entry " + std::to_string(i) + " of " + key + " is not UTF-8",
                 "the file is damaged: copy it again");
}

size_t token_number(const GgufFile& file, const std::string& key, size_t count) {
  const int64_t id = file.whole_number(key);
  if (id < 0 || static_cast<size_t>(id) >= count)
    fail_usage(file.path(), key + " is " + std::to_string(id) + " of " + std::to_string(count) + " tokens",
               "the file is damaged: copy it again");
  return static_cast<size_t>(id);
}

json template_with(const std::string& start, size_t id) {
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  const json special = {{"SpecialToken", {{"id", start}, {"type_id", 0}}}};
  return {{"type", "TemplateProcessing"},
          {"single", json::array({special, text})},
          {"pair", json::array({special, text, second})},
          {"special_tokens",
           {{start, {{"id", start}, {"ids", json::array({id})}, {"tokens", json::array({start})}}}}}};
}

}  // namespace

std::string tokenizer_json_of(const GgufFile& file) {
  const std::string& kind = file.text("tokenizer.ggml.model");
  if (kind != "gpt2")
    fail_usage(file.path(), "tokenizer.ggml.model " + kind + " is not supported",
               "gpt2 (byte-level BPE) is; for others use the model's tokenizer.model or tokenizer.json");
  const PreTokenizer& pre = find_pre_tokenizer(file);
  const std::vector<std::string> tokens = file.texts("tokenizer.ggml.tokens");
  const std::vector<std::string> merges = file.texts("tokenizer.ggml.merges");
  const std::vector<int64_t> kinds = file.whole_numbers("tokenizer.ggml.token_type");
  if (kinds.size() != tokens.size())
    fail_usage(file.path(), "tokenizer.ggml.token_type has not one entry a token",
               "the file is damaged: copy it again");
  require_utf8(file, "tokenizer.ggml.tokens", tokens);
  require_utf8(file, "tokenizer.ggml.merges", merges);
  const auto flag = [&](const char* key, bool otherwise) {
    return file.has(key) ? file.flag(key) : otherwise;
  };
  if (flag("tokenizer.ggml.add_eos_token", false) || flag("tokenizer.ggml.add_space_prefix", false))
    fail_usage(file.path(), "tokenizer.ggml.add_eos_token and add_space_prefix are not supported",
               "use the model's tokenizer.json");

  json vocab = json::object();
  json added = json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    vocab.emplace(tokens[id], id);
    const auto token_kind = static_cast<TokenKind>(kinds[id]);
    if (token_kind != TokenKind::control && token_kind != TokenKind::user_defined) continue;
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", token_kind == TokenKind::control}});
  }
  json post_processor = nullptr;
  if (flag("tokenizer.ggml.add_bos_token", pre.adds_start)) {
    const size_t start = token_number(file, "tokenizer.ggml.bos_token_id", tokens.size());
    post_processor = template_with(tokens[start], start);
  }
  const json result = {{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", added},
                       {"normalizer", pre.normalizes_nfc ? json{{"type", "NFC"}} : json()},
                       {"pre_tokenizer", pre.make()},
                       {"post_processor", post_processor},
                       {"decoder", byte_level(true)},
                       {"model",
                        {{"type", "BPE"},
                         {"dropout", nullptr},
                         {"unk_token", nullptr},
                         {"continuing_subword_prefix", nullptr},
                         {"end_of_word_suffix", nullptr},
                         {"fuse_unk", false},
                         {"byte_fallback", false},
                         {"ignore_merges", pre.ignores_merges},
                         {"vocab", vocab},
                         {"merges", merges}}}};
  return result.dump(1, ' ') + "\n";
}

}  // namespace gca::text
