#pragma once
// What other programs write into a config.json.

#include <set>
#include <string>

namespace gca::model {

/// The keys that Hugging Face tools expect in every config.json, or write into it, beside the settings of the
/// model (PretrainedConfig of transformers). None of them changes what the model computes.
const std::set<std::string>& foreign_config_keys();

}  // namespace gca::model
