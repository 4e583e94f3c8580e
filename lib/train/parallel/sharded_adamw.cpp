#include "lib/train/parallel/sharded_adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <deque>
#include <utility>

#include "lib/train/step/adamw_optimizer.h"

namespace gca::train {
namespace {

/// Buckets of weights under way at once.
constexpr size_t kUnderWay = 4;

at::Tensor piece_of(const at::Tensor& whole, const WeightPiece& piece) {
  return whole.view({-1}).narrow(0, piece.in_weight, piece.size);
}

}  // namespace

ShardedAdamW::ShardedAdamW(model::LanguageModel& model, const TrainConfig& config,
                           parallel::Communicator& communicator, int64_t bucket_bytes)
    : model_(model),
      config_(config),
      communicator_(communicator),
      layout_(model.weights(), communicator.size(), bucket_bytes),
      gradients_(model.weights(), layout_, communicator),
      has_gradient_(model.weights().size(), false) {
  const auto options = model.weights().front().master.options().requires_grad(false);
  for (const Bucket& bucket : layout_.buckets()) {
    first_moments_.push_back(at::zeros({bucket.slice_size}, options));
    second_moments_.push_back(at::zeros({bucket.slice_size}, options));
  }
}

void ShardedAdamW::begin_last_backward() {
  // Where layers are recomputed, backward passes are nested, and a weight that several layers share gets its gradient in
  // parts: nothing leaves before the end.
  if (!config_.recompute_activations) gradients_.begin_overlap();
}

double ShardedAdamW::gradient_norm() {
  gradients_.finish();
  const double own = kernels::gradient_norm(gradients_.sums());
  std::vector<double> values = {own * own};
  for (size_t i = 0; i < has_gradient_.size(); ++i) values.push_back(gradients_.has_gradient(i) ? 1 : 0);
  const std::vector<double> all = communicator_.all_gather_values(values, "the gradient norm");
  double sum = 0;
  has_gradient_.assign(has_gradient_.size(), false);
  for (int r = 0; r < communicator_.size(); ++r) {
    const double* of_rank = all.data() + static_cast<size_t>(r) * values.size();
    sum += of_rank[0];
    for (size_t i = 0; i < has_gradient_.size(); ++i)
      if (of_rank[1 + i] != 0) has_gradient_[i] = true;
  }
  return std::sqrt(sum);
}

void ShardedAdamW::update(int64_t step, double learning_rate, double gradient_scale) {
  const at::NoGradGuard no_grad;
  const kernels::AdamWSettings settings = adamw_settings(config_, step, gradient_scale);
  std::deque<Sent> sent;
  const size_t buckets = layout_.buckets().size();
  size_t taken = 0;
  for (size_t b = 0; b < buckets; ++b) {
    update_slice(b, settings, learning_rate);
    sent.push_back(send_weights(b));
    if (sent.size() <= kUnderWay) continue;
    take_weights(taken++, sent.front());
    sent.pop_front();
  }
  for (Sent& one : sent) take_weights(taken++, one);
  gradients_.clear();
  model_.refresh_compute_weights();
}

void ShardedAdamW::update_slice(size_t bucket, const kernels::AdamWSettings& settings, double learning_rate) {
  const auto own = static_cast<size_t>(communicator_.rank());
  const Bucket& place = layout_.buckets()[bucket];
  std::vector<kernels::AdamWUpdate> updates;
  for (const WeightPiece& piece : place.slices[own]) {
    // As in AdamWOptimizer: a weight without a gradient on any rank stays, as do its moments.
    if (!has_gradient_[piece.weight]) continue;
    const model::Weight& weight = model_.weights()[piece.weight];
    const int64_t in_slice = piece.in_bucket - communicator_.rank() * place.slice_size;
    const auto part = [&](const at::Tensor& slice) { return slice.narrow(0, in_slice, piece.size); };
    updates.push_back({piece_of(weight.master, piece), part(gradients_.sums()[bucket]),
                       part(first_moments_[bucket]), part(second_moments_[bucket]), at::Tensor(),
                       learning_rate * learning_rate_factor(config_, weight.group), weight.rules.decays});
  }
  kernels::adamw_step(updates, settings);
}

ShardedAdamW::Sent ShardedAdamW::send_weights(size_t bucket) {
  const Bucket& place = layout_.buckets()[bucket];
  const auto own = static_cast<size_t>(communicator_.rank());
  Sent sent;
  sent.values = at::zeros({layout_.ranks(), place.slice_size}, first_moments_[bucket].options());
  for (const WeightPiece& piece : place.slices[own])
    sent.values.view({-1})
        .narrow(0, piece.in_bucket, piece.size)
        .copy_(piece_of(model_.weights()[piece.weight].master, piece));
  const std::vector<at::Tensor> slices = sent.values.unbind(0);
  sent.exchange =
      communicator_.start_exchange(std::vector<at::Tensor>(slices.size(), slices[own]), slices, "weights");
  return sent;
}

void ShardedAdamW::take_weights(size_t bucket, Sent& sent) {
  sent.exchange.wait();
  const Bucket& place = layout_.buckets()[bucket];
  for (size_t r = 0; r < place.slices.size(); ++r) {
    if (static_cast<int>(r) == communicator_.rank()) continue;
    for (const WeightPiece& piece : place.slices[r])
      piece_of(model_.weights()[piece.weight].master, piece)
          .copy_(sent.values.view({-1}).narrow(0, piece.in_bucket, piece.size));
  }
}

void ShardedAdamW::reset() {
  for (at::Tensor& moment : first_moments_) moment.zero_();
  for (at::Tensor& moment : second_moments_) moment.zero_();
}

at::Tensor ShardedAdamW::gather_weight(const std::vector<at::Tensor>& slices, size_t weight,
                                       bool on_all_ranks, const std::string& what) const {
  const at::NoGradGuard no_grad;
  const auto size = static_cast<size_t>(communicator_.size());
  const int own = communicator_.rank();
  std::vector<std::vector<WeightPiece>> pieces(size);  // by owner
  std::vector<at::Tensor> own_parts;
  const auto [first, last] = layout_.buckets_of(weight);
  for (size_t b = first; b <= last; ++b) {
    const Bucket& bucket = layout_.buckets()[b];
    for (size_t r = 0; r < size; ++r)
      for (const WeightPiece& piece : bucket.slices[r]) {
        if (piece.weight != weight) continue;
        pieces[r].push_back(piece);
        if (static_cast<int>(r) == own)
          own_parts.push_back(slices[b].narrow(0, piece.in_bucket - own * bucket.slice_size, piece.size));
      }
  }
  const auto values_of = [&](size_t r) {
    int64_t values = 0;
    for (const WeightPiece& piece : pieces[r]) values += piece.size;
    return values;
  };
  const auto options = slices.front().options();
  const auto asks = [&](int r) { return on_all_ranks || r == 0; };
  std::vector<at::Tensor> parts(size);
  std::vector<at::Tensor> to_rank(size);
  std::vector<at::Tensor> from_rank(size);
  for (size_t r = 0; r < size; ++r) parts[r] = at::empty({values_of(r)}, options);
  at::Tensor& own_values = parts[static_cast<size_t>(own)];
  int64_t filled = 0;
  for (const at::Tensor& part : own_parts) {
    own_values.narrow(0, filled, part.numel()).copy_(part);
    filled += part.numel();
  }
  for (size_t r = 0; r < size; ++r) {
    if (asks(static_cast<int>(r))) to_rank[r] = own_values;
    if (asks(own)) from_rank[r] = parts[r];
  }
  communicator_.start_exchange(to_rank, from_rank, what).wait();
  if (!asks(own)) return {};
  const at::Tensor whole = at::empty(model_.weights()[weight].master.sizes(), options);
  for (size_t r = 0; r < size; ++r) {
    int64_t read = 0;
    for (const WeightPiece& piece : pieces[r]) {
      piece_of(whole, piece).copy_(parts[r].narrow(0, read, piece.size));
      read += piece.size;
    }
  }
  return whole;
}

at::Tensor ShardedAdamW::moment(Moment moment, size_t weight) const {
  const at::Tensor whole = gather_weight(moments(moment), weight, /*on_all_ranks=*/false, "moments");
  return whole.defined() ? whole.to(at::kCPU) : whole;
}

at::Tensor ShardedAdamW::summed_gradient(size_t weight) const {
  const at::Tensor whole = gather_weight(gradients_.sums(), weight, /*on_all_ranks=*/true, "gradients");
  return has_gradient_[weight] ? whole : at::Tensor();
}

void ShardedAdamW::set_moment(Moment moment, size_t weight, const at::Tensor& whole) {
  const at::NoGradGuard no_grad;
  const auto own = static_cast<size_t>(communicator_.rank());
  const auto [first, last] = layout_.buckets_of(weight);
  for (size_t b = first; b <= last; ++b) {
    const Bucket& bucket = layout_.buckets()[b];
    for (const WeightPiece& piece : bucket.slices[own])
      if (piece.weight == weight)
        moments(moment)[b]
            .narrow(0, piece.in_bucket - communicator_.rank() * bucket.slice_size, piece.size)
            .copy_(piece_of(whole, piece));
  }
}

int64_t ShardedAdamW::moment_bytes() const {
  return 2 * layout_.share_size() * static_cast<int64_t>(first_moments_.front().element_size());
}

}  // namespace gca::train
