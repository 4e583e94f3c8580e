#include "lib/model/model_config.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "lib/core/error.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/foreign_config_keys.h"
#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

/// Help of long_range: every kind and what it is.
std::string kinds_help() {
  std::string help;
  for (const BackboneKind* kind : backbone_kinds())
    if (std::string(kind->self_attention) == ModelConfig().self_attention)
      help += (help.empty() ? "" : "; ") + std::string(kind->name) + ": " + kind->help;
  return help;
}

std::span<const Field> shared_fields() {
  static const std::string long_range_help = kinds_help();
  static const std::vector<Field> fields = {
      {"vocab_size", &ModelConfig::vocab_size, "V: text ids and the landmark; 0: from the tokenizer"},
      {"landmark_token_id", &ModelConfig::landmark_id, "id of the landmark; -1: the last id"},
      {"hidden_size", &ModelConfig::d_model, "d"},
      {"num_attention_heads", &ModelConfig::n_heads, "H"},
      {"intermediate_size", &ModelConfig::d_ff, "inner size of the MLP; 0: 8/3 d rounded up to 64"},
      {"num_lower_layers", &ModelConfig::n_lower_layers, "N_low"},
      {"num_upper_layers", &ModelConfig::n_upper_layers, "N_up"},
      {"sliding_window", &ModelConfig::window_size, "W: a position sees itself and the W before it",
       Change::ramp},
      {"chunk_size", &ModelConfig::chunk_size, "S: positions of a chunk, its landmark counted",
       Change::per_phase},
      {"self_attention", &ModelConfig::self_attention,
       "window, or full with long_range none: the decoder of a Llama"},
      {"long_range", &ModelConfig::long_range, long_range_help.c_str()},
      {"rms_norm_eps", &ModelConfig::norm_eps, "epsilon of the decoder's norms"},
      {"alibi_slopes", &ModelConfig::alibi_slopes, "one slope a head; empty: 2^(-8 (i+1) / H)"},
      {"initializer_range", &ModelConfig::init_std,
       "standard deviation of every matrix and embedding at the start"},
      {"output_initializer_scale", &ModelConfig::output_init_scale, "factor on it for wo and w_down"},
  };
  return fields;
}

/// Those that all kinds share, then those of `kinds`, each key once.
std::vector<Field> fields_of(std::span<const BackboneKind* const> kinds) {
  std::vector<Field> fields(shared_fields().begin(), shared_fields().end());
  for (const BackboneKind* kind : kinds)
    for (const Field& field : kind->fields)
      if (std::none_of(fields.begin(), fields.end(),
                       [&](const Field& other) { return std::string_view(other.key) == field.key; }))
        fields.push_back(field);
  return fields;
}

}  // namespace

std::vector<double> ModelConfig::slopes() const {
  if (!alibi_slopes.empty()) return alibi_slopes;
  std::vector<double> slopes;
  for (int64_t i = 0; i < n_heads; ++i)
    slopes.push_back(std::exp2(-8.0 * static_cast<double>(i + 1) / static_cast<double>(n_heads)));
  return slopes;
}

int64_t ModelConfig::ff_size() const {
  if (d_ff > 0) return d_ff;
  return ((8 * d_model + 2) / 3 + 63) / 64 * 64;
}

void ModelConfig::validate(const std::string& where) const {
  require_positive(d_model, "hidden_size", where);
  require_positive(n_heads, "num_attention_heads", where);
  require_positive(window_size, "sliding_window", where);
  require_setting(vocab_size >= 2 && is_size(vocab_size), where,
                  "vocab_size is " + std::to_string(vocab_size),
                  "give the tokenizer's size plus one for the landmark");
  require_setting(landmark_id >= -1 && landmark_id < vocab_size, where,
                  "landmark_token_id " + std::to_string(landmark_id) + " is outside the vocabulary",
                  "give -1 for the last id, or an id below " + std::to_string(vocab_size));
  require_setting(self_attention == "full" || (head_size == 0 && tied_output), where,
                  std::string(head_size == 0 ? "tie_word_embeddings is false" : "head_dim is given") +
                      " with self_attention " + self_attention,
                  "leave it out, or use self_attention full");
  require_setting(head_size >= 0 && head_size % 2 == 0 && is_size(head_size), where,
                  "head_dim is " + std::to_string(head_size), "give an even number, or 0");
  require_setting(head_size > 0 || (d_model % n_heads == 0 && head_dim() % 2 == 0), where,
                  "hidden_size " + std::to_string(d_model) + " does not split into " +
                      std::to_string(n_heads) + " heads of even size",
                  "choose hidden_size a multiple of 2 * num_attention_heads");
  require_setting(is_size(n_lower_layers) && is_size(n_upper_layers) && n_lower_layers + n_upper_layers > 0,
                  where, "the number of decoder layers is not positive",
                  "give num_lower_layers and num_upper_layers, 1 or more together");
  require_setting(alibi_slopes.empty() || static_cast<int64_t>(alibi_slopes.size()) == n_heads, where,
                  "alibi_slopes has " + std::to_string(alibi_slopes.size()) + " entries for " +
                      std::to_string(n_heads) + " heads",
                  "give one per head, or none");
  require_setting(upper_alibi_slopes.empty() || static_cast<int64_t>(upper_alibi_slopes.size()) == n_heads,
                  where,
                  "upper_alibi_slopes has " + std::to_string(upper_alibi_slopes.size()) + " entries for " +
                      std::to_string(n_heads) + " heads",
                  "give one per head, or none");
  require_setting(norm_eps > 0, where, "rms_norm_eps is not positive", "use 1e-5");
  require_setting(init_std >= 0 && output_init_scale >= 0, where, "an initialisation scale is negative");
  require_setting(is_size(d_ff), where, "intermediate_size is " + std::to_string(d_ff),
                  "use 0 for 8/3 of hidden_size");
  const BackboneKind& kind = backbone_kind(*this, where);
  require_setting(!kind.has_landmarks || (chunk_size >= 2 && is_size(chunk_size)), where,
                  "chunk_size is " + std::to_string(chunk_size),
                  "give at least 2: one text token and the landmark");
  kind.validate(*this, where);
}

std::span<const ConfigField<ModelConfig>> model_config_fields() {
  static const std::vector<Field> fields = fields_of(backbone_kinds());
  return fields;
}

nlohmann::ordered_json model_config_preamble() {
  nlohmann::ordered_json json;
  json["model_type"] = "gca_drt";
  json["architectures"] = {"DifferentiableRetrievalTransformer"};
  json["tie_word_embeddings"] = true;
  return json;
}

nlohmann::ordered_json model_config_to_json(const ModelConfig& config) {
  nlohmann::ordered_json json = model_config_preamble();
  const BackboneKind* const own = &backbone_kind(config);
  const std::vector<Field> fields = fields_of({&own, 1});
  json.update(fields_to_json<ModelConfig>(config, fields));
  return json;
}

ModelConfig model_config_from_json(const nlohmann::json& json, const std::string& where) {
  if (!json.is_object()) fail_usage(where, "is not a JSON object", "give the config.json of a checkpoint");
  ModelConfig config;
  for (const auto& [key, value] : json.items()) {
    if (foreign_config_keys().contains(key)) continue;
    if (!set_field(config, model_config_fields(), where, key, value)) {
      const std::vector<std::string> known = field_names(model_config_fields());
      fail_usage(where, "unknown key \"" + key + "\"",
                 "the nearest known one is \"" + nearest_name(key, known) + "\"");
    }
  }
  config.validate(where);
  return config;
}

}  // namespace gca::model
