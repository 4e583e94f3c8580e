#include "lib/train/step/non_finite.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isnan.h>

#include "lib/train/data/batch_tensors.h"

namespace gca::train {
namespace {

bool is_finite(const at::Tensor& x) {
  return !at::isFloatingType(x.scalar_type()) || at::isfinite(x.detach()).all().item<bool>();
}

/// Scores are minus infinity where a chunk is not a candidate; only NaN and plus infinity are wrong there.
bool is_usable_score(const at::Tensor& r) {
  const at::Tensor x = r.detach();
  return !at::isnan(x).any().item<bool>() &&
         !x.eq(std::numeric_limits<double>::infinity()).any().item<bool>();
}

}  // namespace

std::optional<std::string> first_non_finite_weight(const model::LanguageModel& model) {
  for (const model::Weight& weight : model.weights())
    if (!is_finite(weight.master)) return weight.name;
  return std::nullopt;
}

std::optional<std::string> first_non_finite_gradient(const model::LanguageModel& model) {
  for (const model::Weight& weight : model.weights()) {
    const at::Tensor& gradient = weight.master.grad();
    if (gradient.defined() && !is_finite(gradient)) return weight.name;
  }
  return std::nullopt;
}

std::optional<std::string> first_non_finite_result(const model::LanguageModel& model,
                                                   const data::Batch& batch, model::ForwardOptions options) {
  const at::NoGradGuard no_grad;
  std::optional<std::string> first;
  options.observe = [&](const std::string& name, const at::Tensor& value) {
    const bool is_score = name.starts_with("r.");
    if (!first && !(is_score ? is_usable_score(value) : is_finite(value))) first = name;
  };
  const auto [ids, targets] = to_tensors(batch);
  options.chunk_vectors = chunk_vectors_of(batch);
  const std::unique_ptr<model::Past> past = model.begin();
  const at::Tensor hidden = model.forward(ids, *past, options);
  if (first) return first;
  if (!is_finite(hidden)) return "hidden";
  if (!is_finite(model.loss(hidden, targets).per_target)) return "loss";
  return std::nullopt;
}

}  // namespace gca::train
