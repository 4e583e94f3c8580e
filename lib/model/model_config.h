#pragma once
// Sizes and switches of a model, and their names in config.json. Symbols are those of docs/model.md.
// What all kinds of backbone share stands here; each kind adds a struct of its own.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "lib/core/json/config_fields.h"
#include "lib/model/backbones/fot/fot_config.h"
#include "lib/model/backbones/full/full_config.h"
#include "lib/model/backbones/gca/gca_config.h"
#include "lib/model/backbones/landmark/landmark_config.h"
#include "lib/model/backbones/longvq/longvq_config.h"
#include "lib/model/backbones/recurformer/recurformer_config.h"
#include "lib/model/backbones/rmt/rmt_config.h"
#include "lib/model/backbones/tensorized/tensorized_config.h"

namespace gca::model {

/// Plain data; validate() before use. Member comments give the symbol and the key in config.json. As
/// config.json is flat, so are the members: what a kind of backbone adds is a base.
struct ModelConfig : GcaConfig,
                     LandmarkConfig,
                     RmtConfig,
                     FotConfig,
                     LongvqConfig,
                     TensorizedConfig,
                     RecurformerConfig,
                     FullConfig {
  int64_t vocab_size = 0;      ///< V: text ids and the landmark          vocab_size
  int64_t landmark_id = -1;    ///< LMK; -1: the last id                  landmark_token_id
  int64_t d_model = 256;       ///< d                                     hidden_size
  int64_t n_heads = 4;         ///< H                                     num_attention_heads
  int64_t d_ff = 0;            ///< SwiGLU inner size; 0: 8/3 d rounded up to 64   intermediate_size
  int64_t n_lower_layers = 4;  ///< N_low                                 num_lower_layers
  int64_t n_upper_layers = 4;  ///< N_up                                  num_upper_layers
  int64_t window_size = 256;   ///< W                                     sliding_window
  int64_t chunk_size = 64;     ///< S, counts the landmark; of kinds with landmarks   chunk_size
  std::string self_attention = "window";  ///< window or full            self_attention
  std::string long_range = "gca";    ///< with it, names a kind of backbone (backbone_kinds.h)   long_range
  double norm_eps = 1e-5;            ///<                                       rms_norm_eps
  std::vector<double> alibi_slopes;  ///< (H); empty: 2^(-8 (i+1) / H)          alibi_slopes
  std::vector<double> upper_alibi_slopes;  ///< (H) of upper layers; empty: as alibi_slopes; of kinds with
                                           ///< ALiBi beyond the window   upper_alibi_slopes
  double init_std = 0.02;                  ///<                                       initializer_range
  double output_init_scale = 1.0;          ///< factor on init_std of wo and w_down   output_initializer_scale

  int64_t head_dim() const { return head_size > 0 ? head_size : d_model / n_heads; }
  /// Positions that rotary angles were made for before they were scaled.
  int64_t original_positions() const {
    return rope_original_positions > 0 ? rope_original_positions : max_positions;
  }
  int64_t chunk_text_size() const { return chunk_size - 1; }
  std::vector<double> slopes() const;
  std::vector<double> upper_slopes() const {
    return upper_alibi_slopes.empty() ? slopes() : upper_alibi_slopes;
  }
  int64_t ff_size() const;
  int64_t resolved_landmark_id() const { return landmark_id >= 0 ? landmark_id : vocab_size - 1; }

  /// Throws Error(usage) naming the key in `where` (a file or flag) that is out of range.
  void validate(const std::string& where) const;
};

/// Every key of config.json that is the model's: those that all kinds share, then those of each kind.
std::span<const ConfigField<ModelConfig>> model_config_fields();

/// model_type, architectures and what else Hugging Face tools expect in a config.json beside the sizes.
nlohmann::ordered_json model_config_preamble();

/// config.json of a checkpoint: the preamble, the keys that all kinds share, and those of its own kind.
nlohmann::ordered_json model_config_to_json(const ModelConfig& config);

/// Reads config.json; unknown keys are errors with the nearest known name.
ModelConfig model_config_from_json(const nlohmann::json& json, const std::string& where);

}  // namespace gca::model
