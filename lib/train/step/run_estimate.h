#pragma once
// What a run will need, estimated before it starts: memory by part, and time.

#include <cstdint>
#include <string>
#include <vector>

#include "lib/train/step/step_probe.h"

namespace gca::train {

struct EstimatedPart {
  std::string name;  ///< "weights", "activations", ...
  double size_bytes = 0;
};

struct MemoryEstimate {
  std::vector<EstimatedPart> parts;
  double available_bytes = 0;  ///< to this process, what it holds already included
  double total_bytes() const;
};

/// Error(usage) naming `where` when weights, gradients and moments alone, of one of `ranks` processes, are more than this
/// process can get. Allocates nothing. `dtype` is "bf16" or "fp32".
void require_memory_for_weights(const model::ModelConfig& config, const std::string& dtype,
                                const std::string& where, int64_t ranks = 1);

/// Parts of the peak of a training step in one of `ranks` processes: `config.batch` is its share of the rows, and
/// `config.context` its part of a text. `gathering_ranks` share a text by gathering its chunks, or, with full attention, its keys and values.
/// `program_bytes`: what the process held before the model was made.
MemoryEstimate estimate_memory(const model::LanguageModel& model, const TrainConfig& config,
                               const StepProbe& probe, double program_bytes, int64_t ranks = 1,
                               int64_t gathering_ranks = 1);

/// Error(usage) naming `where`, with the largest batch that fits, when the estimate is more than is
/// available.
void require_memory_for_batch(const MemoryEstimate& estimate, const TrainConfig& config,
                              const std::string& where);

/// Seconds of one optimizer step, by a probe that was timed.
double estimate_step_seconds(const model::LanguageModel& model, const TrainConfig& config,
                             const StepProbe& probe);

/// Seconds of a validation of `sequences` sequences of the run's context.
double estimate_validation_seconds(const model::LanguageModel& model, const TrainConfig& config,
                                   const StepProbe& probe, int64_t sequences);

/// Bytes of a checkpoint; twice as many are on the disk while one replaces another.
double checkpoint_size_bytes(const model::LanguageModel& model);

}  // namespace gca::train
