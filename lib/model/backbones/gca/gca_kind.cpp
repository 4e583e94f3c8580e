#include "lib/model/backbones/gca/gca_kind.h"

#include <algorithm>
#include <string>

#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

using Field = ConfigField<ModelConfig>;

const Field kFields[] = {
    {"num_key_value_heads", &ModelConfig::n_kv_heads,
     "H_kv: key/value heads of grouped cross-attention and of full attention"},
    {"retrieval_groups", &ModelConfig::retrieval_groups,
     "G: retrievals per chunk; upper layers are split evenly"},
    {"upper_group_layers", &ModelConfig::upper_group_layers,
     "layers of each group, where the split is not even"},
    {"num_encoder_layers", &ModelConfig::n_encoder_layers, "N_enc"},
    {"chunk_top_k", &ModelConfig::chunk_top_k,
     "K: chunks that a chunk reads per group; blocks that a position and head reads of landmark attention",
     Change::per_phase},
    {"retriever", &ModelConfig::retriever,
     "who chooses the chunks: learned, their landmarks; random, a draw that weights all alike; frozen, "
     "vectors that another program made of the data"},
    {"softmax_off_by_one", &ModelConfig::softmax_off_by_one,
     "adds 1 to the denominator of each chunk's softmax"},
    {"residual_blend", &ModelConfig::residual_blend, "lambda of h' = a + lambda o + MLP(m)", Change::ramp},
    {"gumbel_scale", &ModelConfig::gumbel_scale, "factor on the noise of the training choice", Change::ramp},
    {"encoder_rms_norm_eps", &ModelConfig::encoder_norm_eps, "epsilon of the norms inside the chunk encoder"},
    {"rope_theta", &ModelConfig::rope_theta,
     "rotary base of the chunk encoder, of landmark attention and of full attention"},
};

void validate(const ModelConfig& config, const std::string& where) {
  require_positive(config.n_lower_layers, "num_lower_layers", where);
  require_positive(config.n_upper_layers, "num_upper_layers", where);
  require_positive(config.n_kv_heads, "num_key_value_heads", where);
  require_positive(config.chunk_top_k, "chunk_top_k", where);
  require_positive(config.retrieval_groups, "retrieval_groups", where);
  require_setting(
      config.retriever == "learned" || config.retriever == "random" || config.retriever == kFrozenRetriever,
      where, "retriever is \"" + config.retriever + "\"", "use learned, random or frozen");
  require_setting(is_size(config.n_encoder_layers), where,
                  "num_encoder_layers is " + std::to_string(config.n_encoder_layers), "give 0 or more");
  require_setting(config.n_heads % config.n_kv_heads == 0, where,
                  "num_key_value_heads " + std::to_string(config.n_kv_heads) +
                      " does not divide num_attention_heads " + std::to_string(config.n_heads));
  require_setting(config.residual_blend >= 0 && config.residual_blend <= 1, where,
                  "residual_blend is outside 0 to 1");
  require_setting(config.gumbel_scale >= 0, where, "gumbel_scale is negative");
  require_setting(config.encoder_norm_eps > 0, where, "encoder_rms_norm_eps is not positive", "use 1e-6");
  require_setting(config.rope_theta > 0, where, "rope_theta is not positive");
  require_setting(config.retrieval_groups <= config.n_upper_layers, where, "a retrieval group has no layer",
                  "use at most num_upper_layers groups");
  int64_t layers = 0;
  for (const int64_t size : group_sizes(config)) {
    require_setting(size > 0, where, "a retrieval group has no layer", "use at most num_upper_layers groups");
    layers += size;
  }
  require_setting(layers == config.n_upper_layers, where,
                  "upper_group_layers add up to " + std::to_string(layers) + ", num_upper_layers is " +
                      std::to_string(config.n_upper_layers));
  const auto groups = static_cast<int64_t>(config.upper_group_layers.size());
  require_setting(groups == 0 || groups == config.retrieval_groups, where,
                  "upper_group_layers has " + std::to_string(groups) + " entries, retrieval_groups is " +
                      std::to_string(config.retrieval_groups));
}

/// Upper layers: N_up W that the windows reach back through them, and one chunk per group, whose retrieval
/// was made before.
Reach reach(const ModelConfig& config) {
  const int64_t W = config.window_size;
  return {.upper = config.n_upper_layers * W + config.retrieval_groups * config.chunk_size,
          .memory = config.n_lower_layers * W};
}

/// Mean number of chunks that a chunk reads: chunk u of C has u - 1 candidates.
double mean_chunks_read(int64_t C, int64_t K) {
  double sum = 0;
  for (int64_t u = 0; u < std::min(C, K + 1); ++u) sum += static_cast<double>(std::max<int64_t>(0, u - 1));
  sum += static_cast<double>(std::max<int64_t>(0, C - K - 1)) * static_cast<double>(K);
  return C > 0 ? sum / static_cast<double>(C) : 0.0;
}

ModelCost cost(const ModelConfig& config, int64_t context) {
  const auto d = static_cast<double>(config.d_model);
  const auto kv = static_cast<double>(config.n_kv_heads * config.head_dim());
  const auto S = static_cast<double>(config.chunk_size);
  const auto upper = static_cast<double>(config.n_upper_layers);
  const auto encoder_layers = static_cast<double>(config.n_encoder_layers);
  const auto groups = static_cast<double>(config.retrieval_groups);
  const auto d_ff = static_cast<double>(config.ff_size());
  const double layer = 4 * d * d + 3 * d * d_ff;
  const int64_t C = context / config.chunk_text_size();
  const double text_size = S - 1;

  ModelCost cost = window_layers_cost(config, config.n_lower_layers + config.n_upper_layers, context);
  cost.parameters += encoder_layers * (layer + 2 * d) + 2 * d;  // the encoder and its outer norms
  cost.parameters += 2 * d * kv;                                // keys and values of chunk memory
  cost.parameters += upper * (d + 2 * d * d);                   // norm, wq, wo of grouped cross-attention
  cost.parameters += groups * d;

  const double read = mean_chunks_read(C, config.chunk_top_k) * text_size;
  cost.multiply_adds += upper * (2 * d * d + 2 * read * d);
  cost.multiply_adds += encoder_layers * (layer + 2 * S * d) + 2 * d * kv;
  // Scores of one landmark against C / 2 earlier ones on average, shared by the S - 1 tokens of a chunk.
  cost.multiply_adds += groups * d * static_cast<double>(C) / 2 / text_size;

  const auto read_at_end = static_cast<double>(std::min(C, config.chunk_top_k)) * text_size;
  cost.decoding_elements += upper * 2 * read_at_end * kv;
  cost.decoding_weights += upper * 2 * d * d;
  cost.decoding_rows += upper * 2 * d;
  // The encoder, keys and values of chunk memory: once a chunk.
  cost.decoding_weights += (encoder_layers * layer + 2 * d * kv) / text_size;
  cost.decoding_rows += (encoder_layers * (5 * d + 2 * d_ff) + 2 * kv) / text_size;
  cost.decoding_bytes += groups * static_cast<double>(C) * d / text_size;  // int8 copies of the landmarks
  return cost;
}

std::vector<Reader> readers(const ModelConfig& config) {
  std::vector<Reader> groups;
  for (int64_t group = 0; group < config.retrieval_groups; ++group) groups.push_back({-1, group});
  return groups;
}

}  // namespace

std::vector<int64_t> group_sizes(const ModelConfig& config) {
  if (!config.upper_group_layers.empty()) return config.upper_group_layers;
  const int64_t groups = config.retrieval_groups;
  std::vector<int64_t> sizes;
  for (int64_t g = 0; g < groups; ++g)
    sizes.push_back((g + 1) * config.n_upper_layers / groups - g * config.n_upper_layers / groups);
  return sizes;
}

const BackboneKind GcaKind::kind = {
    .name = "gca",
    .help = "grouped cross-attention over chunks retrieved from chunk memory",
    .fields = kFields,
    .has_landmarks = true,
    .keeps_chunk_memory = true,
    .validate = validate,
    .reach = reach,
    .cost = cost,
    .choice_unit = ChoiceUnit::chunk,
    .readers = readers,
    .text_sharing = TextSharing::in_order,
};

}  // namespace gca::model
