#include "lib/train/step/adamw_optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/adamw/adamw.h"

namespace gca::train {

double learning_rate_factor(const TrainConfig& config, model::WeightGroup group) {
  switch (group) {
    case model::WeightGroup::embedding:
      return config.embedding_factor;
    case model::WeightGroup::lower:
      return config.lower_factor;
    case model::WeightGroup::encoder:
      return config.encoder_factor;
    case model::WeightGroup::memory:
      return config.memory_factor;
    case model::WeightGroup::upper:
      break;
  }
  return config.upper_factor;
}

AdamWOptimizer::AdamWOptimizer(const std::vector<model::Weight>& weights, const TrainConfig& config)
    : config_(config) {
  const at::NoGradGuard no_grad;
  for (const model::Weight& weight : weights) {
    first_moments_.push_back(weight.rules.trained ? at::zeros_like(weight.master) : at::Tensor());
    second_moments_.push_back(weight.rules.trained ? at::zeros_like(weight.master) : at::Tensor());
  }
}

void AdamWOptimizer::update(std::vector<model::Weight>& weights, int64_t step, double learning_rate,
                            double gradient_scale) {
  const at::NoGradGuard no_grad;
  kernels::AdamWSettings settings;
  settings.beta1 = config_.adam_beta1;
  settings.beta2 = config_.adam_beta2;
  settings.epsilon = config_.adam_epsilon;
  settings.weight_decay = config_.weight_decay;
  settings.step = step + 1;
  settings.gradient_scale = gradient_scale;
  std::vector<kernels::AdamWUpdate> updates;
  for (size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor& gradient = weights[i].master.grad();
    // No path led from the loss to this weight (a text too short to retrieve): it stays, as do its moments.
    if (!gradient.defined()) continue;
    updates.push_back({weights[i].master, gradient.contiguous(), first_moments_[i], second_moments_[i],
                       weights[i].compute, learning_rate * learning_rate_factor(config_, weights[i].group),
                       weights[i].rules.decays});
  }
  kernels::adamw_step(updates, settings);
}

void AdamWOptimizer::reset() {
  for (std::vector<at::Tensor>* moments : {&first_moments_, &second_moments_})
    for (at::Tensor& moment : *moments)
      if (moment.defined()) moment.zero_();
}

}  // namespace gca::train
