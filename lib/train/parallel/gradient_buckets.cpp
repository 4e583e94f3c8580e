#include "lib/train/parallel/gradient_buckets.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <utility>

namespace gca::train {
namespace {

/// Buckets under way at once: enough that one is always being carried, few enough to bound what they take.
constexpr size_t kUnderWay = 4;

}  // namespace

struct GradientBuckets::Hook : torch::autograd::PostAccumulateGradHook {
  Hook(GradientBuckets& its_owner, size_t its_weight) : owner(its_owner), weight(its_weight) {}
  void operator()(const torch::autograd::Variable& /*master*/) override { owner.take_gradient(weight); }

  GradientBuckets& owner;
  size_t weight;
};

GradientBuckets::GradientBuckets(std::vector<model::Weight>& weights, const BucketLayout& layout,
                                 parallel::Communicator& communicator)
    : weights_(weights), layout_(layout), communicator_(communicator) {
  for (size_t i = 0; i < weights.size(); ++i)
    torch::autograd::impl::set_post_acc_grad_hooks(weights[i].master, std::make_unique<Hook>(*this, i));
  clear();
}

GradientBuckets::~GradientBuckets() {
  for (const model::Weight& weight : weights_)
    torch::autograd::impl::set_post_acc_grad_hooks(weight.master, nullptr);
}

void GradientBuckets::clear() {
  overlaps_ = false;
  has_gradient_.assign(weights_.size(), false);
  is_final_.assign(weights_.size(), false);
  missing_.assign(layout_.buckets().size(), 0);
  for (size_t i = 0; i < weights_.size(); ++i) {
    const auto [first, last] = layout_.buckets_of(i);
    for (size_t b = first; b <= last; ++b) ++missing_[b];
  }
  sent_.clear();
  sums_.clear();
}

void GradientBuckets::take_gradient(size_t weight) {
  if (!overlaps_) return;
  TORCH_CHECK(!is_final_[weight], "the gradient of ", weights_[weight].name,
              " came twice in one backward pass");
  is_final_[weight] = true;
  const auto [first, last] = layout_.buckets_of(weight);
  for (size_t b = first; b <= last; ++b) --missing_[b];
  while (sent_.size() < missing_.size() && missing_[sent_.size()] == 0) send_next();
}

void GradientBuckets::send_next() {
  const at::NoGradGuard no_grad;
  const size_t number = sent_.size();
  if (number >= sums_.size() + kUnderWay) sum_next();
  const Bucket& bucket = layout_.buckets()[number];
  const auto options = weights_.front().master.options().requires_grad(false);
  Sent sent;
  sent.values = at::zeros({bucket.slice_size * layout_.ranks()}, options);
  for (const std::vector<WeightPiece>& slice : bucket.slices)
    for (const WeightPiece& piece : slice) {
      at::Tensor& gradient = weights_[piece.weight].master.mutable_grad();
      if (!gradient.defined()) continue;
      has_gradient_[piece.weight] = true;
      sent.values.narrow(0, piece.in_bucket, piece.size)
          .copy_(gradient.reshape({-1}).narrow(0, piece.in_weight, piece.size));
      // Its last values are on their way.
      if (piece.in_weight + piece.size == gradient.numel()) gradient = at::Tensor();
    }
  for (int r = 0; r < layout_.ranks(); ++r)
    sent.received.push_back(r == communicator_.rank() ? at::Tensor()
                                                      : at::empty({bucket.slice_size}, options));
  sent.exchange =
      communicator_.start_exchange(sent.values.chunk(layout_.ranks()), sent.received, "gradients");
  sent_.push_back(std::move(sent));
}

void GradientBuckets::sum_next() {
  Sent& sent = sent_[sums_.size()];
  sent.exchange.wait();
  std::vector<at::Tensor> parts = std::move(sent.received);
  const auto own = static_cast<size_t>(communicator_.rank());
  parts[own] = sent.values.chunk(layout_.ranks())[own];
  sums_.push_back(parallel::sum_in_order(parts));
  sent.values = at::Tensor();
}

void GradientBuckets::finish() {
  const at::NoGradGuard no_grad;
  while (sent_.size() < layout_.buckets().size()) send_next();
  while (sums_.size() < sent_.size()) sum_next();
  overlaps_ = false;
}

}  // namespace gca::train
