#pragma once
// config.json of a Hugging Face checkpoint of model_type llama, and back. Knows no LibTorch.

#include <nlohmann/json.hpp>
#include <string>

#include "lib/model/model_config.h"

namespace gca::model {

/// True when a config.json is of another program's model: its model_type is not ours.
bool is_foreign_config(const nlohmann::json& json);

/// The model that a config.json of model_type llama (or mistral without a sliding window) describes, in the old
/// spelling (rope_theta and rope_scaling) or the new one (rope_parameters). Throws Error(usage) naming `where`,
/// the key and its value where something is asked for that this program does not compute.
ModelConfig llama_config_from_json(const nlohmann::json& json, const std::string& where);

/// The other way, in the old spelling, which every version of the transformers library reads. `dtype`: of the
/// weights, "float32" or "bfloat16". Throws Error(usage) naming `where` when the model is no Llama.
nlohmann::ordered_json llama_config_to_json(const ModelConfig& config, const std::string& dtype,
                                            const std::string& where);

}  // namespace gca::model
