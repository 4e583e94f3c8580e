#include "lib/model/llama/llama_config.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

#include "lib/core/error.h"

namespace gca::model {
namespace {

using nlohmann::json;

/// What the library takes for keys that a config.json leaves out.
constexpr int64_t kDefaultMaxPositions = 2048;
constexpr int64_t kDefaultMistralKvHeads = 8;
constexpr double kDefaultNormEps = 1e-6;
constexpr double kDefaultTheta = 10000.0;

/// One object of a config.json, read key by key. A key that is null is as good as missing.
class Settings {
 public:
  Settings(const json& values, std::string prefix, const std::string& where)
      : values_(values), prefix_(std::move(prefix)), where_(where) {}

  bool has(const char* key) const { return values_.contains(key) && !values_.at(key).is_null(); }

  int64_t size(const char* key) const { return size(key, required(key)); }
  int64_t size_or(const char* key, int64_t otherwise) const {
    return has(key) ? size(key, values_.at(key)) : otherwise;
  }
  double number(const char* key) const { return number(key, required(key)); }
  double number_or(const char* key, double otherwise) const {
    return has(key) ? number(key, values_.at(key)) : otherwise;
  }
  bool flag_or(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!values_.at(key).is_boolean()) refuse(key, "give true or false");
    return values_.at(key).get<bool>();
  }
  std::string text_or(const char* key, const std::string& otherwise) const {
    if (!has(key)) return otherwise;
    if (!values_.at(key).is_string()) refuse(key, "give a text");
    return values_.at(key).get<std::string>();
  }

  [[noreturn]] void refuse(const char* key, const std::string& readable) const {
    fail_usage(where_, fmt::format("{}{} is {}", prefix_, key, has(key) ? values_.at(key).dump() : "missing"),
               readable);
  }

 private:
  const json& required(const char* key) const {
    if (!has(key)) refuse(key, "restore the config.json of this checkpoint");
    return values_.at(key);
  }
  int64_t size(const char* key, const json& value) const {
    if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > INT32_MAX)
      refuse(key, "give a whole number");
    return value.get<int64_t>();
  }
  double number(const char* key, const json& value) const {
    if (!value.is_number()) refuse(key, "give a number");
    return value.get<double>();
  }

  const json& values_;
  std::string prefix_;
  const std::string& where_;
};

void read_yarn(const Settings& rope, ModelConfig& config) {
  for (const char* key : {"mscale", "mscale_all_dim"})
    if (rope.has(key)) rope.refuse(key, "yarn can be read with attention_factor alone");
  const auto beta = [&](const char* key, double otherwise) {
    const double value = rope.number_or(key, otherwise);
    return value == 0 ? otherwise : value;
  };
  config.rope_beta_fast = beta("beta_fast", 32);
  config.rope_beta_slow = beta("beta_slow", 1);
  config.rope_truncate = rope.flag_or("truncate", true);
  if (rope.has("attention_factor")) {
    config.rope_attention_factor = rope.number("attention_factor");
    if (config.rope_attention_factor <= 0) rope.refuse("attention_factor", "give a number above 0");
  }
}

/// rope_parameters (transformers 5), or rope_theta and rope_scaling.
void read_rope(const json& values, const Settings& settings, const std::string& where, ModelConfig& config) {
  static const json kNone = json::object();
  const auto object = [&](const char* key) -> const json& {
    if (!settings.has(key)) return kNone;
    if (!values.at(key).is_object()) settings.refuse(key, "give an object, or null");
    return values.at(key);
  };
  const bool is_new = !object("rope_parameters").empty();
  const char* const key = is_new ? "rope_parameters" : "rope_scaling";
  const Settings rope(object(key), fmt::format("{}.", key), where);

  config.rope_theta = rope.number_or("rope_theta", settings.number_or("rope_theta", kDefaultTheta));
  if (rope.number_or("partial_rotary_factor", 1) != 1)
    rope.refuse("partial_rotary_factor", "1 can be read: every element of a head is rotated");
  const char* const type_key = rope.has("rope_type") ? "rope_type" : "type";
  config.rope_type = rope.text_or(type_key, "default");
  const std::string& type = config.rope_type;
  if (type != "default" && type != "linear" && type != "llama3" && type != "yarn")
    rope.refuse(type_key, "default, linear, llama3 and yarn can be read");
  if (type == "default") return;
  config.rope_factor = rope.number("factor");
  if (config.rope_factor <= 0) rope.refuse("factor", "give a number above 0");
  if (type == "linear") return;
  config.rope_original_positions = rope.size_or("original_max_position_embeddings", config.max_positions);
  if (type == "llama3") {
    config.rope_low_freq_factor = rope.number("low_freq_factor");
    config.rope_high_freq_factor = rope.number("high_freq_factor");
  } else {
    read_yarn(rope, config);
  }
}

/// Settings under which a model computes something else than what this program does.
void refuse_what_cannot_be_read(const json& values, const Settings& settings) {
  if (settings.has("quantization_config"))
    settings.refuse("quantization_config", "weights of F32, BF16 and F16 can be read");
  if (settings.text_or("hidden_act", "silu") != "silu") settings.refuse("hidden_act", "silu can be read");
  if (settings.number_or("partial_rotary_factor", 1) != 1)
    settings.refuse("partial_rotary_factor", "1 can be read: every element of a head is rotated");
  const std::string type = settings.text_or("model_type", "");
  if (type == "mistral" && (!values.contains("sliding_window") || !values.at("sliding_window").is_null()))
    settings.refuse("sliding_window", "mistral can be read where it is null");
}

}  // namespace

bool is_foreign_config(const nlohmann::json& json) {
  if (!json.is_object() || !json.contains("model_type")) return false;
  const nlohmann::json& type = json.at("model_type");
  return !type.is_string() ||
         type.get<std::string>() != model_config_preamble().at("model_type").get<std::string>();
}

ModelConfig llama_config_from_json(const nlohmann::json& json, const std::string& where) {
  const Settings settings(json, "", where);
  const std::string type = settings.text_or("model_type", "");
  if (type != "llama" && type != "mistral")
    settings.refuse("model_type", "llama can be read, and mistral without a sliding window");
  refuse_what_cannot_be_read(json, settings);

  ModelConfig config;
  config.self_attention = "full";
  config.long_range = "none";
  config.position = "rope";
  config.vocab_size = settings.size("vocab_size");
  config.d_model = settings.size("hidden_size");
  config.d_ff = settings.size("intermediate_size");
  config.n_lower_layers = settings.size("num_hidden_layers");
  config.n_upper_layers = 0;
  config.n_heads = settings.size("num_attention_heads");
  config.n_kv_heads =
      settings.size_or("num_key_value_heads", type == "mistral" ? kDefaultMistralKvHeads : config.n_heads);
  config.head_size = settings.size_or("head_dim", 0);
  if (config.head_size * config.n_heads == config.d_model) config.head_size = 0;  // what it is by itself
  config.norm_eps = settings.number_or("rms_norm_eps", kDefaultNormEps);
  config.attention_bias = settings.flag_or("attention_bias", false);
  config.mlp_bias = settings.flag_or("mlp_bias", false);
  config.tied_output = settings.flag_or("tie_word_embeddings", false);
  config.max_positions = settings.size_or("max_position_embeddings", kDefaultMaxPositions);
  config.init_std = settings.number_or("initializer_range", config.init_std);
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"})
    if (settings.size(key) == 0) settings.refuse(key, "give a number above 0");
  read_rope(json, settings, where, config);
  config.validate(where);
  return config;
}

nlohmann::ordered_json llama_config_to_json(const ModelConfig& config, const std::string& dtype,
                                            const std::string& where) {
  if (config.self_attention != "full")
    fail_usage(where, fmt::format("is a model with self_attention \"{}\"", config.self_attention),
               "models with self_attention full can be exported");
  if (config.position != "rope")
    fail_usage(where, fmt::format("is a model with position \"{}\"", config.position),
               "models with position rope can be exported");
  nlohmann::ordered_json json;
  json["architectures"] = {"LlamaForCausalLM"};
  json["model_type"] = "llama";
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.d_model;
  json["intermediate_size"] = config.ff_size();
  json["num_hidden_layers"] = config.n_lower_layers + config.n_upper_layers;
  json["num_attention_heads"] = config.n_heads;
  json["num_key_value_heads"] = config.n_kv_heads;
  json["head_dim"] = config.head_dim();
  json["hidden_act"] = "silu";
  if (config.max_positions > 0) json["max_position_embeddings"] = config.max_positions;
  json["rms_norm_eps"] = config.norm_eps;
  json["rope_theta"] = config.rope_theta;
  json["rope_scaling"] = nullptr;
  if (config.rope_type != "default") {
    nlohmann::ordered_json rope = {{"rope_type", config.rope_type}, {"factor", config.rope_factor}};
    if (config.rope_type != "linear") rope["original_max_position_embeddings"] = config.original_positions();
    if (config.rope_type == "llama3") {
      rope["low_freq_factor"] = config.rope_low_freq_factor;
      rope["high_freq_factor"] = config.rope_high_freq_factor;
    }
    if (config.rope_type == "yarn") {
      rope["beta_fast"] = config.rope_beta_fast;
      rope["beta_slow"] = config.rope_beta_slow;
      rope["truncate"] = config.rope_truncate;
      if (config.rope_attention_factor > 0) rope["attention_factor"] = config.rope_attention_factor;
    }
    json["rope_scaling"] = std::move(rope);
  }
  json["attention_bias"] = config.attention_bias;
  json["mlp_bias"] = config.mlp_bias;
  json["tie_word_embeddings"] = config.tied_output;
  json["initializer_range"] = config.init_std;
  json["torch_dtype"] = dtype;
  return json;
}

}  // namespace gca::model
