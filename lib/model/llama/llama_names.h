#pragma once
// Names of tensors in a Hugging Face checkpoint of model_type llama. Knows no LibTorch.

#include <string>

#include "lib/model/model_config.h"

namespace gca::model {

/// The name there of the weight that is `name` here: "lower.3.attn.wq" is
/// "model.layers.3.self_attn.q_proj.weight"; upper layers follow the lower ones. `name` is a weight of a model
/// with self_attention full.
std::string llama_name(const std::string& name, const ModelConfig& config);

/// True for tensors that old checkpoints carry and that no one reads.
bool is_unused_in_llama(const std::string& name);

inline constexpr const char* kLlamaEmbedding = "model.embed_tokens.weight";
inline constexpr const char* kLlamaOutput = "lm_head.weight";

}  // namespace gca::model
