#pragma once
// What full attention adds to a model's configuration: the settings of a Llama, imported or trained here.

#include <cstdint>
#include <string>

namespace gca::model {

/// Plain data, part of ModelConfig. Member comments give the symbol and the key in config.json.
struct FullConfig {
  std::string position = "rope";  ///< rope or alibi                                  position
  int64_t head_size = 0;          ///< dh; 0: d / H                                   head_dim
  bool attention_bias = false;    ///< on q, k, v and the output                      attention_bias
  bool mlp_bias = false;          ///<                                                mlp_bias
  bool tied_output = true;        ///< the output projection is the embedding         tie_word_embeddings
  int64_t max_positions = 0;      ///< longest text trained on; 0: not known          max_position_embeddings
  std::string rope_type = "default";  ///< default, linear, llama3 or yarn (rotary_angles.h)   rope_type
  double rope_factor = 1.0;           ///< of linear, llama3, yarn                        rope_factor
  int64_t rope_original_positions =
      0;  ///< before scaling; 0: max_positions   rope_original_max_position_embeddings
  double rope_low_freq_factor = 1.0;  ///< of llama3                                      rope_low_freq_factor
  double rope_high_freq_factor =
      4.0;                       ///< of llama3                                      rope_high_freq_factor
  double rope_beta_fast = 32.0;  ///< of yarn                                        rope_beta_fast
  double rope_beta_slow = 1.0;   ///< of yarn                                        rope_beta_slow
  bool rope_truncate = true;     ///< of yarn: whole pairs                           rope_truncate
  double rope_attention_factor =
      0.0;  ///< of yarn; 0: 0.1 ln(rope_factor) + 1            rope_attention_factor
};

}  // namespace gca::model
