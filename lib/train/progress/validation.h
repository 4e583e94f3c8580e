#pragma once
// The loss on a fixed set of sequences, as the model stands: no noise, no dropout, every target counted once.

#include <functional>
#include <memory>

#include "lib/model/language_model.h"
#include "lib/parallel/communicator.h"
#include "lib/train/checkpoints/trainer_state.h"
#include "lib/train/data/batch_source.h"

namespace gca::train {

/// `rows` sequences at a time, with `config` where it is given (ForwardOptions::config). `poll`, where given, is
/// called before each batch and may throw to stop. step and tokens of the result are left to the caller. The ranks of
/// `communicator` (null for one process) share the batches out, and all have the result, which has the bits of one process;
/// `poll` is then called before each round of batches, on all of them.
ValidationResult validate(const model::LanguageModel& model, const ValidationSource& source, int64_t rows,
                          std::shared_ptr<const model::ModelConfig> config = nullptr,
                          const std::function<void()>& poll = nullptr,
                          parallel::Communicator* communicator = nullptr);

}  // namespace gca::train
