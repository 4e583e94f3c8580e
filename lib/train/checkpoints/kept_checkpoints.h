#pragma once
// Checkpoints kept beside the last one, in RUN/kept:
//   step-N   one that was RUN/checkpoint after N steps; the files are hard links, so it takes no time to keep
//   best     the one with the lowest validation loss so far
//   NAME     the one at the end of a phase that names it (training_phases.h)
// Each is a checkpoint like any other: to evaluate, to begin from (--init) or to branch from (--branch).

#include <cstdint>
#include <string>
#include <vector>

namespace gca::train {

std::string best_checkpoint_folder(const std::string& output);

/// Removes what an earlier run in `output` has kept: by steps, as the best, and under `names`.
void remove_kept_checkpoints(const std::string& output, const std::vector<std::string>& names = {});

/// Keeps RUN/checkpoint, which was saved after `step` steps, and removes all but the newest `count` kept ones.
void keep_checkpoint(const std::string& output, int64_t step, int64_t count);

/// Keeps RUN/checkpoint as RUN/kept/`name`, in place of an earlier one.
void keep_checkpoint_as(const std::string& output, const std::string& name);

/// The validation loss of the best checkpoint; infinite where there is none.
double best_kept_loss(const std::string& output);

struct KeptCheckpoint {
  std::string folder;
  int64_t step = 0;
  double valid_loss = 0.0;  ///< at that step; NaN where it was not measured
};

/// The best one first, then the named ones, then the others by step.
std::vector<KeptCheckpoint> list_kept_checkpoints(const std::string& output);

}  // namespace gca::train
