#pragma once
// Small runs on the self-copy task: a model, what it is trained with, and what it reads.

#include "lib/tasks/self_copy/self_copy_task.h"
#include "lib/tasks/task_kind.h"
#include "lib/train/checkpoints/trainer_state.h"
#include "lib/train/step/trainer.h"
#include "tests/support/tiny_model.h"

namespace gca::testing {

inline train::TrainConfig tiny_train_config() {
  train::TrainConfig config;
  config.learning_rate = 3e-3;
  config.min_learning_rate = 1e-4;
  config.warmup_steps = 2;
  config.batch = 2;
  config.eval_interval = 3;
  config.eval_sequences = 2;
  config.checkpoint_minutes = 0;
  config.diagnostics_interval = 2;
  config.residual_blend_begin = 2;
  config.residual_blend_end = 6;
  return config;
}

inline train::BatchSource copy_source(const model::ModelConfig& config, int64_t first = 0) {
  const tasks::SelfCopyTask task(
      {.passage_tokens = 3 * config.chunk_text_size(), .ids = config.vocab_size, .seed = 5},
      layout_of(config));
  return {[task, first](int64_t consumed, int64_t rows) { return task.batch(first + consumed, rows); },
          task.fingerprint()};
}

inline train::ValidationPlan copy_validation(const model::ModelConfig& config) {
  train::ValidationSource source;
  source.source = copy_source(config, tasks::kFirstHeldOut);
  source.sequences = 2;
  source.measures_accuracy = true;
  source.batch = 2;
  return [source](int64_t) { return std::vector{source}; };
}

inline std::vector<at::Tensor> copies_of_masters(const model::LanguageModel& model) {
  std::vector<at::Tensor> copies;
  for (const model::Weight& weight : model.weights()) copies.push_back(weight.master.detach().clone());
  return copies;
}

/// Largest difference of any weight to `before`.
inline double largest_change(const model::LanguageModel& model, const std::vector<at::Tensor>& before) {
  double largest = 0.0;
  for (size_t i = 0; i < before.size(); ++i)
    largest = std::max(largest, largest_difference(model.weights()[i].master.detach(), before[i]));
  return largest;
}

}  // namespace gca::testing
