#pragma once
// Finding what broke: the first tensor that holds a NaN or an infinity.

#include <optional>
#include <string>

#include "lib/data/sequence_loader.h"
#include "lib/model/language_model.h"

namespace gca::train {

/// The first weight that is not finite, in the order of the model.
std::optional<std::string> first_non_finite_weight(const model::LanguageModel& model);

/// The first weight whose gradient is not finite.
std::optional<std::string> first_non_finite_gradient(const model::LanguageModel& model);

/// Runs `batch` forward again and names the first intermediate result, in the order of the computation, that
/// is not finite (scores of chunks that are not candidates do not count); "loss" when only that is not.
std::optional<std::string> first_non_finite_result(const model::LanguageModel& model,
                                                   const data::Batch& batch, model::ForwardOptions options);

}  // namespace gca::train
