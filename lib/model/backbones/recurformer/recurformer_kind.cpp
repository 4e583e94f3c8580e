#include "lib/model/backbones/recurformer/recurformer_kind.h"

#include <algorithm>
#include <set>
#include <string>

#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"recurrent_heads", &ModelConfig::recurrent_heads,
     "heads that are Mamba: j * num_attention_heads + h for head h of upper layer j"},
    {"recurrent_state_size", &ModelConfig::recurrent_state_size, "N: states of a channel of Mamba heads"},
    {"recurrent_conv_size", &ModelConfig::recurrent_conv_size, "width of the convolution of Mamba heads"},
    {"recurrent_rank", &ModelConfig::recurrent_rank,
     "rank of the steps of Mamba heads; 0: hidden_size / 16 rounded up"},
    {"upper_alibi_slopes", &ModelConfig::upper_alibi_slopes,
     "one slope a head of the upper layers; empty: as alibi_slopes"},
};

void validate(const ModelConfig& config, const std::string& where) {
  std::set<int64_t> seen;
  for (const int64_t head : config.recurrent_heads)
    require_setting(head >= 0 && head < config.n_upper_layers * config.n_heads && seen.insert(head).second,
                    where, "recurrent_heads names head " + std::to_string(head),
                    "give each of 0 to num_upper_layers * num_attention_heads - 1 once at most");
  require_positive(config.recurrent_state_size, "recurrent_state_size", where);
  require_positive(config.recurrent_conv_size, "recurrent_conv_size", where);
  require_setting(is_size(config.recurrent_rank), where,
                  "recurrent_rank is " + std::to_string(config.recurrent_rank),
                  "give 0 for hidden_size / 16, or a rank");
}

/// Kept heads read the whole text, and a state depends on all of it.
Reach reach(const ModelConfig& /*config*/) {
  return {};
}

/// Of one upper layer; the convolution is not counted.
ModelCost layer_cost(const ModelConfig& config, int64_t layer, int64_t context) {
  const HeadsOfLayer heads = heads_of_layer(config, layer);
  const auto d = static_cast<double>(config.d_model);
  const auto d_ff = static_cast<double>(config.ff_size());
  const auto dh = static_cast<double>(config.head_dim());
  const auto T = static_cast<double>(context);
  const auto N = static_cast<double>(config.recurrent_state_size);
  const auto w = static_cast<double>(config.recurrent_conv_size);
  const auto r = static_cast<double>(recurrent_rank_of(config));
  const double kept = dh * static_cast<double>(heads.kept.size());
  const double replaced = dh * static_cast<double>(heads.recurrent.size());
  const double products = (3 * kept + d) * d + 3 * d * d_ff;
  const double of_mamba = replaced > 0 ? 2 * replaced * d + (r + 2 * N) * replaced + replaced * r : 0.0;
  ModelCost cost;
  cost.parameters = products + of_mamba + 2 * d + replaced * (w + 3 + N);
  // Decay, addition and reading of every state.
  cost.multiply_adds = products + of_mamba + 2 * (T + 1) / 2 * kept + 3 * N * replaced;
  cost.decoding_weights = products + of_mamba;
  cost.decoding_rows = 3 * kept + 2 * d + 2 * d_ff;
  if (replaced > 0) cost.decoding_rows += 3 * replaced + r + 2 * N;
  cost.decoding_elements = 2 * T * kept + (w - 1) * replaced;
  // The state and the weights beside the matrices are float32.
  cost.decoding_bytes = sizeof(float) * replaced * (2 * N + w + 3);
  return cost;
}

ModelCost cost(const ModelConfig& config, int64_t context) {
  ModelCost cost = window_layers_cost(config, config.n_lower_layers, context);
  for (int64_t layer = 0; layer < config.n_upper_layers; ++layer) cost += layer_cost(config, layer, context);
  return cost;
}

}  // namespace

HeadsOfLayer heads_of_layer(const ModelConfig& config, int64_t layer) {
  const std::vector<int64_t>& all = config.recurrent_heads;
  HeadsOfLayer heads;
  for (int64_t head = 0; head < config.n_heads; ++head) {
    const bool is_recurrent = std::find(all.begin(), all.end(), layer * config.n_heads + head) != all.end();
    (is_recurrent ? heads.recurrent : heads.kept).push_back(head);
  }
  return heads;
}

int64_t recurrent_rank_of(const ModelConfig& config) {
  return config.recurrent_rank > 0 ? config.recurrent_rank : (config.d_model + 15) / 16;
}

const BackboneKind RecurformerKind::kind = {
    .name = "recurformer",
    .help = "full attention whose heads may be replaced by Mamba (RecurFormer)",
    .fields = kFields,
    .has_landmarks = false,
    .keeps_chunk_memory = false,
    .validate = validate,
    .reach = reach,
    .cost = cost,
};

}  // namespace gca::model
