#pragma once
// How large a model will be, told from its configuration alone: nothing is allocated to find out.

#include "lib/model/model_config.h"

namespace gca {

/// Weights of the model, the same number as LanguageModel::parameter_count(). A double, as settings that no
/// machine can hold must not overflow.
double parameter_count(const ModelConfig& config);

}  // namespace gca
