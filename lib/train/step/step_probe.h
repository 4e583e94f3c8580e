#pragma once
// What a training step of a model costs here, measured with steps on a short random text: both the memory that it
// takes beside weights, gradients and moments, and its time grow linearly with the text.

#include <cstdint>

#include "lib/model/language_model.h"
#include "lib/train/settings/train_config.h"

namespace gca::train {

struct StepProbe {
  double fixed_bytes = 0;         ///< of a backward pass, whatever the length of the text
  double bytes_per_position = 0;  ///< kept for the backward pass, and its own workspace
  double fixed_seconds = 0;       ///< the optimizer's update, mostly
  double seconds_per_flop = 0;    ///< by useful FLOPs, forward and backward
};

/// Runs a forward and backward pass of one sequence at two lengths, the longer at most `config.context`.
/// Where `at_most_seconds` is above 0 it also times whole steps, for about as long, at lengths that grow
/// until they take a good part of it; otherwise the times stay 0. Changes no bit of the weights; gradients
/// are gone afterwards.
StepProbe probe_step(model::LanguageModel& model, const TrainConfig& config, double at_most_seconds);

}  // namespace gca::train
