#include "lib/train/progress/validation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "lib/train/data/batch_tensors.h"

namespace gca::train {
namespace {

/// What is added up of a batch; counts are exact in a double.
struct BatchSums {
  double loss = 0;
  double targets = 0;
  double bytes = 0;
  double hits = 0;
};

/// Batch number b was looked at by rank b modulo their number.
void gather_batches(std::vector<BatchSums>& batches, parallel::Communicator& communicator) {
  std::vector<double> own;
  for (const BatchSums& batch : batches)
    own.insert(own.end(), {batch.loss, batch.targets, batch.bytes, batch.hits});
  const std::vector<double> all = communicator.all_gather_values(own, "results of a validation");
  const auto ranks = static_cast<size_t>(communicator.size());
  for (size_t b = 0; b < batches.size(); ++b) {
    const double* of_batch = all.data() + (b % ranks) * own.size() + 4 * b;
    batches[b] = {of_batch[0], of_batch[1], of_batch[2], of_batch[3]};
  }
}

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
                          std::shared_ptr<const model::ModelConfig> config, const std::function<void()>& poll,
                          parallel::Communicator* communicator) {
  const at::NoGradGuard no_grad;
  model::ForwardOptions options;
  options.config = std::move(config);
  const auto look_at = [&](int64_t first) {
    const data::Batch batch = source.source.batch(first, std::min(rows, source.sequences - first));
    const auto [ids, targets] = to_tensors(batch);
    options.chunk_vectors = chunk_vectors_of(batch);
    const std::unique_ptr<model::Past> past = model.begin();
    const at::Tensor hidden = model.forward(ids, *past, options);
    BatchSums sums;
    sums.loss = model.loss(hidden, targets).per_target.sum(at::kDouble).item<double>();
    if (source.measures_accuracy) sums.hits = static_cast<double>(count_hits(model, hidden, targets));
    sums.targets = static_cast<double>(batch.target_count);
    sums.bytes = batch.target_bytes;
    return sums;
  };
  const int64_t rank = communicator == nullptr ? 0 : communicator->rank();
  const int64_t ranks = communicator == nullptr ? 1 : communicator->size();
  std::vector<BatchSums> batches(static_cast<size_t>((source.sequences + rows - 1) / rows));
  for (size_t round = 0; round < batches.size(); round += static_cast<size_t>(ranks)) {
    if (poll) poll();
    const size_t own = round + static_cast<size_t>(rank);
    if (own < batches.size()) batches[own] = look_at(static_cast<int64_t>(own) * rows);
  }
  if (communicator != nullptr) gather_batches(batches, *communicator);

  double loss_sum = 0.0;
  double targets_seen = 0;
  double bytes_seen = 0;
  double hits = 0;
  for (const BatchSums& batch : batches) {
    loss_sum += batch.loss;
    targets_seen += batch.targets;
    bytes_seen += batch.bytes;
    hits += batch.hits;
  }

  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  ValidationResult result;
  result.task = source.task;
  result.loss = targets_seen > 0 ? loss_sum / targets_seen : kUnknown;
  result.perplexity = std::exp(result.loss);
  result.bits_per_byte = bytes_seen > 0 ? loss_sum / std::numbers::ln2 / bytes_seen : kUnknown;
  result.loses_text = std::isnan(bytes_seen);
  result.accuracy = source.measures_accuracy && targets_seen > 0 ? hits / targets_seen : kUnknown;
  return result;
}

}  // namespace gca::train
