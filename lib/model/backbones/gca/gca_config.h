#pragma once
// What grouped cross-attention adds to a model's configuration.

#include <cstdint>
#include <string>
#include <vector>

namespace gca::model {

/// Plain data, part of ModelConfig. Member comments give the symbol and the key in config.json.
struct GcaConfig {
  int64_t n_kv_heads = 4;                   ///< H_kv of grouped cross-attention       num_key_value_heads
  int64_t retrieval_groups = 1;             ///< G; upper layers are split evenly      retrieval_groups
  std::vector<int64_t> upper_group_layers;  ///< layers of each group, where not even  upper_group_layers
  int64_t n_encoder_layers = 2;             ///< N_enc                                 num_encoder_layers
  int64_t chunk_top_k = 8;                  ///< K                                     chunk_top_k
  std::string retriever =
      "learned";                   ///< learned; random, weighted equally; frozen: by chunk vectors  retriever
  bool softmax_off_by_one = true;  ///<                                       softmax_off_by_one
  double residual_blend = 0.0;     ///< lambda of h' = a + lambda o + MLP(m); 0 the paper's, 1 residual a + o
  double gumbel_scale = 1.0;       ///< factor on the noise of training       gumbel_scale
  double encoder_norm_eps = 1e-6;  ///<                                       encoder_rms_norm_eps
  double rope_theta = 10000.0;     ///< chunk encoder only                    rope_theta
};

}  // namespace gca::model
