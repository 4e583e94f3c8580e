// Retrieval learns: from nothing, through the loss of the language model alone, a nano model finds a random
// passage that lies beyond everything its windows can reach, and ends as the paper's model (residual a). The
// same model without retrieval learns nothing.

#include <doctest/doctest.h>

#include "lib/train/data/task_data.h"
#include "lib/train/progress/validation.h"
#include "lib/train/settings/run_config.h"
#include "lib/train/step/trainer.h"

using namespace gca;

namespace {

struct Learned {
  double accuracy;
  double chance;
  double residual_blend;
};

Learned learn_to_copy(const std::string& long_range, int64_t steps) {
  train::RunConfig config;
  config.read("nano");
  config.model.vocab_size = 64;
  config.model.long_range = long_range;
  // A passage of two chunks, 30 tokens; two layers of this window reach 16 positions back.
  config.model.window_size = 8;
  config.train.batch = 8;
  config.train.residual_blend_begin = 250;
  config.train.residual_blend_end = 350;
  config.train.eval_sequences = 32;
  const train::TaskData data = train::open_task_data({"self-copy", {}, "", 1, {}}, config);
  model::LanguageModel model(config.model, at::kFloat);
  model.initialise(1);
  model.refresh_compute_weights();
  train::Trainer trainer(model, config.train, data.train, 1, steps);
  train::StepResult last;
  for (int64_t step = 0; step < steps; ++step)
    last = trainer.make_step(step, step * config.train.sequences_per_step(), false);
  return {train::validate(model, data.validation, 8).accuracy, data.chance, last.residual_blend};
}

}  // namespace

TEST_CASE("Retrieval repeats a passage from beyond the window, which the sliding window alone cannot") {
  const Learned with_retrieval = learn_to_copy("gca", 500);
  CHECK(with_retrieval.residual_blend == 0.0);
  CHECK(with_retrieval.accuracy >= 0.9);
  const Learned baseline = learn_to_copy("none", 250);
  CHECK(baseline.accuracy <= 3 * baseline.chance);
}
