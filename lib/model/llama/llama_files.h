#pragma once
// A Hugging Face checkpoint of model_type llama: weights in, and weights out.

#include <string>

#include "lib/model/language_model.h"

namespace gca::model {

/// The model of a folder with config.json and model.safetensors, or several files and
/// model.safetensors.index.json. Weights are widened or rounded straight from the mapped files. Throws
/// Error(usage) where a tensor is missing, of another shape, of a type other than F32, BF16 and F16, or one too
/// many.
LanguageModel load_llama(const std::string& folder, at::ScalarType compute_dtype, at::Device device,
                         WeightDtype weight_dtype, Masters masters);

/// Writes config.json and model.safetensors, which the transformers library opens, into a folder that is there.
/// `dtype`: kFloat or kBFloat16. Throws Error(usage) naming `where` when the model is no Llama.
void save_llama(const LanguageModel& model, at::ScalarType dtype, const std::string& folder,
                const std::string& where);

}  // namespace gca::model
