#pragma once
// Weights from a safetensors file, into a model that is there.

#include <string>
#include <vector>

#include "lib/core/files/safetensors_file.h"
#include "lib/model/language_model.h"

namespace gca::model {

/// The tensor `name` of `file`, float32, from F32, BF16 or F16. Throws Error(usage), which ends in `remedy`, when it is
/// missing or of another shape.
at::Tensor read_tensor(const SafetensorsFile& file, const std::string& name,
                       const std::vector<int64_t>& shape, const std::string& remedy);

/// The same into `to`, whose type and shape it takes. float32 is exact for all three types.
void copy_tensor(const SafetensorsFile& file, const std::string& name, const std::string& remedy,
                 at::Tensor& to);

/// Sets the weights of `model` from F32, BF16 or F16. Throws Error(usage), which ends in `remedy`, when a
/// tensor is missing, of another shape or one too many; a copy of the embedding as `lm_head.weight` is not.
void read_weights(const SafetensorsFile& file, LanguageModel& model, const std::string& remedy);

}  // namespace gca::model
