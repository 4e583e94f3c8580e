#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "lib/model/language_model.h"
#include "lib/train/data/batch_source.h"
#include "lib/train/progress/reading_gain.h"

namespace gca::train {

/// Three passes over the first sequences of `source`, at most four of them, `rows` at a time, with `config`
/// where it is given (ForwardOptions::config). Nothing for a model that keeps no chunk memory, for a task
/// whose accuracy says more (ValidationSource::measures_accuracy), and where no sequence is so long that
/// there is a choice.
std::optional<ReadingGain> measure_reading(const model::LanguageModel& model, const ValidationSource& source,
                                           int64_t rows,
                                           std::shared_ptr<const model::ModelConfig> config = nullptr);

}  // namespace gca::train
