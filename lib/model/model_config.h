#pragma once
// Sizes and switches of a model, and their names in config.json. Symbols are those of README.md, "The model".

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "lib/core/config_fields.h"

namespace gca {

/// Plain data; validate() before use. Member comments give the symbol and the key in config.json.
struct ModelConfig {
  int64_t vocab_size = 0;        ///< V: text ids and the landmark          vocab_size
  int64_t landmark_id = -1;      ///< LMK; -1: the last id                  landmark_token_id
  int64_t d_model = 256;         ///< d                                     hidden_size
  int64_t n_heads = 4;           ///< H                                     num_attention_heads
  int64_t n_kv_heads = 4;        ///< H_kv of grouped cross-attention       num_key_value_heads
  int64_t d_ff = 0;              ///< SwiGLU inner size; 0: 8/3 d rounded up to 64   intermediate_size
  int64_t n_lower_layers = 4;    ///< N_low                                 num_lower_layers
  int64_t n_upper_layers = 4;    ///< N_up                                  num_upper_layers
  int64_t retrieval_groups = 1;  ///< G; upper layers are split evenly      retrieval_groups
  std::vector<int64_t> upper_group_layers;  ///< layers of each group, where not even   upper_group_layers
  int64_t n_encoder_layers = 2;             ///< N_enc                                 num_encoder_layers
  int64_t window_size = 256;                ///< W                                     sliding_window
  int64_t chunk_size = 64;                  ///< S, counts the landmark                chunk_size
  int64_t chunk_top_k = 8;                  ///< K                                     chunk_top_k
  std::string long_range = "gca";  ///< "gca" or "none" (sliding-window baseline, no landmarks)   long_range
  bool softmax_off_by_one = true;  ///<                                       softmax_off_by_one
  double residual_blend = 0.0;     ///< lambda of h' = a + lambda o + MLP(m); 0 the paper's, 1 residual a + o
  double gumbel_scale = 1.0;       ///< factor on the noise of training       gumbel_scale
  double norm_eps = 1e-5;          ///<                                       rms_norm_eps
  double encoder_norm_eps = 1e-6;  ///<                                       encoder_rms_norm_eps
  double rope_theta = 10000.0;     ///< chunk encoder only                    rope_theta
  std::vector<double> alibi_slopes;  ///< (H); empty: 2^(-8 (i+1) / H)          alibi_slopes
  double init_std = 0.02;            ///<                                       initializer_range
  double output_init_scale = 1.0;    ///< factor on init_std of wo and w_down   output_initializer_scale

  bool uses_retrieval() const { return long_range == "gca"; }
  int64_t head_dim() const { return d_model / n_heads; }
  int64_t chunk_text_size() const { return chunk_size - 1; }
  /// Number of upper layers of each group; one group without retrieval.
  std::vector<int64_t> group_sizes() const;
  std::vector<double> slopes() const;
  int64_t ff_size() const;

  /// Throws Error(usage) naming the key in `where` (a file or flag) that is out of range.
  void validate(const std::string& where) const;
};

/// Every key of config.json that is the model's.
std::span<const ConfigField<ModelConfig>> model_config_fields();

/// config.json of a checkpoint (with model_type and architectures, as Hugging Face tools expect).
nlohmann::ordered_json model_config_to_json(const ModelConfig& config);

/// Reads config.json; unknown keys are errors with the nearest known name.
ModelConfig model_config_from_json(const nlohmann::json& json, const std::string& where);

}  // namespace gca
