#include "lib/model/model_config.h"

#include <cmath>
#include <set>

#include "lib/core/error.h"

namespace gca {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"vocab_size", &ModelConfig::vocab_size, "V: text ids and the landmark; 0: from the tokenizer"},
    {"landmark_token_id", &ModelConfig::landmark_id, "id of the landmark; -1: the last id"},
    {"hidden_size", &ModelConfig::d_model, "d"},
    {"num_attention_heads", &ModelConfig::n_heads, "H"},
    {"num_key_value_heads", &ModelConfig::n_kv_heads, "H_kv: key/value heads of grouped cross-attention"},
    {"intermediate_size", &ModelConfig::d_ff, "inner size of the MLP; 0: 8/3 d rounded up to 64"},
    {"num_lower_layers", &ModelConfig::n_lower_layers, "N_low"},
    {"num_upper_layers", &ModelConfig::n_upper_layers, "N_up"},
    {"retrieval_groups", &ModelConfig::retrieval_groups,
     "G: retrievals per chunk; upper layers are split evenly"},
    {"upper_group_layers", &ModelConfig::upper_group_layers,
     "layers of each group, where the split is not even"},
    {"num_encoder_layers", &ModelConfig::n_encoder_layers, "N_enc"},
    {"sliding_window", &ModelConfig::window_size, "W: a position sees itself and the W before it"},
    {"chunk_size", &ModelConfig::chunk_size, "S: positions of a chunk, its landmark counted"},
    {"chunk_top_k", &ModelConfig::chunk_top_k, "K: chunks that a chunk reads per group"},
    {"long_range", &ModelConfig::long_range, "gca, or none for the sliding-window baseline"},
    {"softmax_off_by_one", &ModelConfig::softmax_off_by_one,
     "adds 1 to the denominator of each chunk's softmax"},
    {"residual_blend", &ModelConfig::residual_blend, "lambda of h' = a + lambda o + MLP(m)"},
    {"gumbel_scale", &ModelConfig::gumbel_scale, "factor on the noise of the training choice"},
    {"rms_norm_eps", &ModelConfig::norm_eps, "epsilon of the decoder's norms"},
    {"encoder_rms_norm_eps", &ModelConfig::encoder_norm_eps, "epsilon of the norms inside the chunk encoder"},
    {"rope_theta", &ModelConfig::rope_theta, "rotary base of the chunk encoder"},
    {"alibi_slopes", &ModelConfig::alibi_slopes, "one slope a head; empty: 2^(-8 (i+1) / H)"},
    {"initializer_range", &ModelConfig::init_std,
     "standard deviation of every matrix and embedding at the start"},
    {"output_initializer_scale", &ModelConfig::output_init_scale, "factor on it for wo and w_down"},
};

// What Hugging Face tools expect beside the sizes.
const std::set<std::string> kForeignKeys = {"model_type", "architectures", "tie_word_embeddings",
                                            "torch_dtype"};

/// Sizes are stored in 64 bits; products of two of them must fit, too.
constexpr int64_t kLargestSize = (int64_t{1} << 31) - 1;

void require(bool condition, const std::string& where, const std::string& what,
             const std::string& remedy = "") {
  if (!condition) fail_usage(where, what, remedy);
}

}  // namespace

std::vector<int64_t> ModelConfig::group_sizes() const {
  if (!uses_retrieval()) return {n_upper_layers};
  if (!upper_group_layers.empty()) return upper_group_layers;
  std::vector<int64_t> sizes;
  for (int64_t g = 0; g < retrieval_groups; ++g)
    sizes.push_back((g + 1) * n_upper_layers / retrieval_groups - g * n_upper_layers / retrieval_groups);
  return sizes;
}

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
  const auto positive = [&](int64_t value, const char* key) {
    require(value > 0 && value <= kLargestSize, where, std::string(key) + " is " + std::to_string(value),
            "give a whole number from 1 to " + std::to_string(kLargestSize));
  };
  positive(d_model, "hidden_size");
  positive(n_heads, "num_attention_heads");
  positive(window_size, "sliding_window");
  require(vocab_size >= 2 && vocab_size <= kLargestSize, where, "vocab_size is " + std::to_string(vocab_size),
          "give the tokenizer's size plus one for the landmark");
  require(landmark_id >= -1 && landmark_id < vocab_size, where,
          "landmark_token_id " + std::to_string(landmark_id) + " is outside the vocabulary",
          "give -1 for the last id, or an id below " + std::to_string(vocab_size));
  require(d_model % n_heads == 0 && head_dim() % 2 == 0, where,
          "hidden_size " + std::to_string(d_model) + " does not split into " + std::to_string(n_heads) +
              " heads of even size",
          "choose hidden_size a multiple of 2 * num_attention_heads");
  const auto is_size = [](int64_t value) { return value >= 0 && value <= kLargestSize; };
  require(is_size(n_lower_layers) && is_size(n_upper_layers) && n_lower_layers + n_upper_layers > 0, where,
          "there is no decoder layer, or no number of them",
          "give num_lower_layers and num_upper_layers, 1 or more together");
  require(alibi_slopes.empty() || static_cast<int64_t>(alibi_slopes.size()) == n_heads, where,
          "alibi_slopes has " + std::to_string(alibi_slopes.size()) + " entries for " +
              std::to_string(n_heads) + " heads",
          "give one a head, or none");
  require(long_range == "gca" || long_range == "none", where, "long_range is \"" + long_range + "\"",
          "use gca or none");
  require(norm_eps > 0 && encoder_norm_eps > 0, where, "a norm's epsilon is not positive", "use 1e-5");
  require(init_std >= 0 && output_init_scale >= 0, where, "an initialisation scale is negative");
  require(is_size(d_ff), where, "intermediate_size is " + std::to_string(d_ff),
          "use 0 for 8/3 of hidden_size");
  if (!uses_retrieval()) return;
  positive(n_lower_layers, "num_lower_layers");
  positive(n_upper_layers, "num_upper_layers");
  positive(n_kv_heads, "num_key_value_heads");
  positive(chunk_top_k, "chunk_top_k");
  positive(retrieval_groups, "retrieval_groups");
  require(is_size(n_encoder_layers), where, "num_encoder_layers is " + std::to_string(n_encoder_layers),
          "give 0 or more");
  require(chunk_size >= 2 && chunk_size <= kLargestSize, where, "chunk_size is " + std::to_string(chunk_size),
          "give at least 2: one text token and the landmark");
  require(n_heads % n_kv_heads == 0, where,
          "num_key_value_heads " + std::to_string(n_kv_heads) + " does not divide num_attention_heads " +
              std::to_string(n_heads));
  require(residual_blend >= 0 && residual_blend <= 1, where, "residual_blend is outside 0 to 1");
  require(gumbel_scale >= 0, where, "gumbel_scale is negative");
  require(rope_theta > 0, where, "rope_theta is not positive");
  int64_t layers = 0;
  for (const int64_t size : group_sizes()) {
    require(size > 0, where, "a retrieval group has no layer", "use at most num_upper_layers groups");
    layers += size;
  }
  require(layers == n_upper_layers, where,
          "upper_group_layers add up to " + std::to_string(layers) + ", num_upper_layers is " +
              std::to_string(n_upper_layers));
  require(upper_group_layers.empty() || static_cast<int64_t>(upper_group_layers.size()) == retrieval_groups,
          where,
          "upper_group_layers has " + std::to_string(upper_group_layers.size()) +
              " entries, retrieval_groups is " + std::to_string(retrieval_groups));
}

std::span<const ConfigField<ModelConfig>> model_config_fields() {
  return kFields;
}

nlohmann::ordered_json model_config_to_json(const ModelConfig& config) {
  nlohmann::ordered_json json;
  json["model_type"] = "gca_drt";
  json["architectures"] = {"DifferentiableRetrievalTransformer"};
  json["tie_word_embeddings"] = true;
  json.update(fields_to_json(config, model_config_fields()));
  return json;
}

ModelConfig model_config_from_json(const nlohmann::json& json, const std::string& where) {
  if (!json.is_object()) fail_usage(where, "is no JSON object", "give the config.json of a checkpoint");
  ModelConfig config;
  for (const auto& [key, value] : json.items()) {
    if (kForeignKeys.contains(key)) continue;
    if (!set_field(config, model_config_fields(), where, key, value)) {
      const std::vector<std::string> known = field_names(model_config_fields());
      fail_usage(where, "unknown key \"" + key + "\"",
                 "the nearest known one is \"" + nearest_name(key, known) + "\"");
    }
  }
  config.validate(where);
  return config;
}

}  // namespace gca
