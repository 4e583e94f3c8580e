#include "lib/model/backbones/full/full_kind.h"

#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"position", &ModelConfig::position, "of full attention: rope (rotary) or alibi"},
    {"num_key_value_heads", &ModelConfig::n_kv_heads,
     "H_kv: key/value heads of grouped cross-attention and of full attention"},
    {"head_dim", &ModelConfig::head_size, "dh of full attention; 0: hidden_size / num_attention_heads"},
    {"attention_bias", &ModelConfig::attention_bias, "full attention: biases on q, k, v and the output"},
    {"mlp_bias", &ModelConfig::mlp_bias, "full attention: biases of the MLP"},
    {"tie_word_embeddings", &ModelConfig::tied_output,
     "the output projection is the embedding; false only with full attention"},
    {"max_position_embeddings", &ModelConfig::max_positions,
     "full attention: longest text it is meant for; 0: not known"},
    {"rope_theta", &ModelConfig::rope_theta, "rotary base of the chunk encoder and of full attention"},
    {"rope_type", &ModelConfig::rope_type, "scaling of rotary angles: default, linear, llama3 or yarn"},
    {"rope_factor", &ModelConfig::rope_factor, "of linear, llama3 and yarn: how much longer texts become"},
    {"rope_original_max_position_embeddings", &ModelConfig::rope_original_positions,
     "of llama3 and yarn: positions before scaling; 0: max_position_embeddings"},
    {"rope_low_freq_factor", &ModelConfig::rope_low_freq_factor, "of llama3"},
    {"rope_high_freq_factor", &ModelConfig::rope_high_freq_factor, "of llama3"},
    {"rope_beta_fast", &ModelConfig::rope_beta_fast, "of yarn"},
    {"rope_beta_slow", &ModelConfig::rope_beta_slow, "of yarn"},
    {"rope_truncate", &ModelConfig::rope_truncate, "of yarn: the ramp begins and ends at whole pairs"},
    {"rope_attention_factor", &ModelConfig::rope_attention_factor,
     "of yarn: factor on cosines and sines; 0: 0.1 ln(rope_factor) + 1"},
};

void validate(const ModelConfig& config, const std::string& where) {
  require_positive(config.n_kv_heads, "num_key_value_heads", where);
  require_setting(config.n_heads % config.n_kv_heads == 0, where,
                  "num_key_value_heads " + std::to_string(config.n_kv_heads) +
                      " does not divide num_attention_heads " + std::to_string(config.n_heads),
                  "give a divisor of num_attention_heads");
  require_setting(config.position == "rope" || config.position == "alibi", where,
                  "position is \"" + config.position + "\"", "use rope or alibi");
  require_setting(config.rope_theta > 0, where, "rope_theta is not positive", "use 10000");
  require_setting(is_size(config.max_positions) && is_size(config.rope_original_positions), where,
                  "a number of positions is negative", "give 0 where it is not known");
  const std::string& type = config.rope_type;
  require_setting(type == "default" || type == "linear" || type == "llama3" || type == "yarn", where,
                  "rope_type is \"" + type + "\"", "use default, linear, llama3 or yarn");
  require_setting(type == "default" || config.rope_factor > 0, where, "rope_factor is not positive",
                  "give how much longer texts become");
  require_setting((type != "llama3" && type != "yarn") || config.original_positions() > 0, where,
                  "rope_type " + type + " without rope_original_max_position_embeddings",
                  "give the positions before scaling");
  require_setting(type != "llama3" || config.rope_high_freq_factor > config.rope_low_freq_factor, where,
                  "rope_high_freq_factor is not above rope_low_freq_factor", "use 4 and 1");
  require_setting(type != "yarn" || (config.rope_beta_fast > 0 && config.rope_beta_slow > 0), where,
                  "rope_beta_fast or rope_beta_slow is not positive", "use 32 and 1");
  require_setting(config.rope_attention_factor >= 0, where, "rope_attention_factor is negative", "use 0");
}

/// Every layer reads the whole text.
Reach reach(const ModelConfig& /*config*/) {
  return {};
}

ModelCost cost(const ModelConfig& config, int64_t context) {
  const auto d = static_cast<double>(config.d_model);
  const auto n = static_cast<double>(config.n_lower_layers + config.n_upper_layers);
  const auto T = static_cast<double>(context);
  const auto d_ff = static_cast<double>(config.ff_size());
  const auto query = static_cast<double>(config.n_heads * config.head_dim());
  const auto kv = static_cast<double>(config.n_kv_heads * config.head_dim());
  const double products = 2 * d * query + 2 * d * kv + 3 * d * d_ff;
  const double biases =
      (config.attention_bias ? query + 2 * kv + d : 0.0) + (config.mlp_bias ? 2 * d_ff + d : 0.0);
  ModelCost cost;
  cost.parameters = n * (products + biases + 2 * d);
  if (!config.tied_output) cost.parameters += static_cast<double>(config.vocab_size) * d;
  cost.multiply_adds = n * (products + 2 * (T + 1) / 2 * query);
  cost.decoding_weights = n * products;
  cost.decoding_rows = n * (query + 2 * kv + 2 * d + 2 * d_ff);
  cost.decoding_elements = n * 2 * T * kv;
  return cost;
}

}  // namespace

const BackboneKind FullKind::kind = {
    .name = "none",
    .self_attention = "full",
    .help = "full causal attention, the decoder of a Llama",
    .fields = kFields,
    .has_landmarks = false,
    .keeps_chunk_memory = false,
    .validate = validate,
    .reach = reach,
    .cost = cost,
    .text_sharing = TextSharing::ring,
};

}  // namespace gca::model
