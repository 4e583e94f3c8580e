#include "lib/train/step/adamw_optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

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

kernels::AdamWSettings adamw_settings(const TrainConfig& config, int64_t step, double gradient_scale) {
  kernels::AdamWSettings settings;
  settings.beta1 = config.adam_beta1;
  settings.beta2 = config.adam_beta2;
  settings.epsilon = config.adam_epsilon;
  settings.weight_decay = config.weight_decay;
  settings.step = step + 1;
  settings.gradient_scale = gradient_scale;
  return settings;
}

AdamWOptimizer::AdamWOptimizer(std::vector<model::Weight>& weights, const TrainConfig& config)
    : weights_(weights), config_(config) {
  const at::NoGradGuard no_grad;
  for (const model::Weight& weight : weights) {
    first_moments_.push_back(weight.rules.trained ? at::zeros_like(weight.master) : at::Tensor());
    second_moments_.push_back(weight.rules.trained ? at::zeros_like(weight.master) : at::Tensor());
  }
}

double AdamWOptimizer::gradient_norm() {
  std::vector<at::Tensor> gradients;
  for (const model::Weight& weight : weights_) gradients.push_back(weight.master.grad());
  return kernels::gradient_norm(gradients);
}

void AdamWOptimizer::update(int64_t step, double learning_rate, double gradient_scale) {
  const at::NoGradGuard no_grad;
  std::vector<kernels::AdamWUpdate> updates;
  for (size_t i = 0; i < weights_.size(); ++i) {
    const at::Tensor& gradient = weights_[i].master.grad();
    // No path led from the loss to this weight (a text too short to retrieve): it stays, as do its moments.
    if (!gradient.defined()) continue;
    updates.push_back({weights_[i].master, gradient.contiguous(), first_moments_[i], second_moments_[i],
                       weights_[i].compute, learning_rate * learning_rate_factor(config_, weights_[i].group),
                       weights_[i].rules.decays});
  }
  kernels::adamw_step(updates, adamw_settings(config_, step, gradient_scale));
}

void AdamWOptimizer::reset() {
  for (std::vector<at::Tensor>* moments : {&first_moments_, &second_moments_})
    for (at::Tensor& moment : *moments)
      if (moment.defined()) moment.zero_();
}

at::Tensor AdamWOptimizer::moment(Moment moment, size_t weight) const {
  return moments(moment)[weight].to(at::kCPU);
}

void AdamWOptimizer::set_moment(Moment moment, size_t weight, const at::Tensor& whole) {
  const at::NoGradGuard no_grad;
  const at::Tensor& kept = moments(moment)[weight];
  kept.copy_(whole);
}

int64_t AdamWOptimizer::moment_bytes() const {
  int64_t bytes = 0;
  for (const Moment which : {Moment::first, Moment::second})
    for (const at::Tensor& moment : moments(which))
      if (moment.defined()) bytes += static_cast<int64_t>(moment.nbytes());
  return bytes;
}

}  // namespace gca::train
