#include "lib/train/progress/validation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "lib/train/data/batch_tensors.h"

namespace gca::train {
namespace {

/// How many targets are the arg-max of their logits.
int64_t count_hits(const model::LanguageModel& model, const at::Tensor& hidden, const at::Tensor& targets) {
  const at::Tensor there = targets.to(hidden.device());
  const at::Tensor has_target = there.ge(0);
  const at::Tensor expected = there.masked_select(has_target);  // (n)
  const at::Tensor rows = hidden.index({has_target});           // (n, d)
  return model.logits(rows).argmax(-1).eq(expected).sum().item<int64_t>();
}

}  // namespace

ValidationResult validate(const model::LanguageModel& model, const ValidationSource& source, int64_t rows,
                          std::shared_ptr<const model::ModelConfig> config,
                          const std::function<void()>& poll) {
  const at::NoGradGuard no_grad;
  model::ForwardOptions options;
  options.config = std::move(config);
  double loss_sum = 0.0;
  int64_t targets_seen = 0;
  double bytes_seen = 0;
  int64_t hits = 0;
  for (int64_t first = 0; first < source.sequences; first += rows) {
    if (poll) poll();
    const data::Batch batch = source.source.batch(first, std::min(rows, source.sequences - first));
    const auto [ids, targets] = to_tensors(batch);
    const std::unique_ptr<model::Past> past = model.begin();
    const at::Tensor hidden = model.forward(ids, *past, options);
    loss_sum += model.loss(hidden, targets).per_target.sum(at::kDouble).item<double>();
    if (source.measures_accuracy) hits += count_hits(model, hidden, targets);
    targets_seen += batch.target_count;
    bytes_seen += batch.target_bytes;
  }

  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  ValidationResult result;
  result.task = source.task;
  result.loss = targets_seen > 0 ? loss_sum / static_cast<double>(targets_seen) : kUnknown;
  result.perplexity = std::exp(result.loss);
  result.bits_per_byte = bytes_seen > 0 ? loss_sum / std::numbers::ln2 / bytes_seen : kUnknown;
  result.loses_text = std::isnan(bytes_seen);
  result.accuracy = source.measures_accuracy && targets_seen > 0
                        ? static_cast<double>(hits) / static_cast<double>(targets_seen)
                        : kUnknown;
  return result;
}

}  // namespace gca::train
