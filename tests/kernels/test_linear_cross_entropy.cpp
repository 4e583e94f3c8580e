// Products with master weights, and the output projection fused with its loss.

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <doctest/doctest.h>

#include "kernels/linear/linear.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy.h"
#include "tests/support/gradcheck.h"

using namespace gca::kernels;
using namespace gca::testing;

namespace {

/// The definition: log_softmax over the whole logits, mean over rows with a target.
at::Tensor plain_loss(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& targets) {
  const at::Tensor log_p = at::log_softmax(at::matmul(x, weight.t()), -1);
  const at::Tensor chosen = log_p.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1);
  const at::Tensor present = targets.ge(0).to(x.scalar_type());
  return -(chosen * present).sum() / present.sum();
}

}  // namespace

TEST_CASE("loss and gradients equal log_softmax over the whole logits, in blocks and with missing targets") {
  for (const int64_t rows : {1, 5, 1300}) {
    CAPTURE(rows);
    at::Tensor x = some_numbers({rows, 12}, 2.0).requires_grad_();
    at::Tensor weight = some_numbers({33, 12}, 1.0, 0.5).requires_grad_();
    const at::Tensor targets = at::arange(rows, at::kLong) % 34 - (rows > 1 ? 1 : 0);  // some are -1
    const auto [mean, per_target] = linear_cross_entropy(x, weight, weight, targets);
    torch::autograd::backward({mean * 3.0}, {});
    const at::Tensor dx = x.grad().clone();
    const at::Tensor dweight = weight.grad().clone();
    x.mutable_grad() = at::Tensor();
    weight.mutable_grad() = at::Tensor();
    const at::Tensor wanted = plain_loss(x, weight, targets);
    torch::autograd::backward({wanted * 3.0}, {});
    CHECK(std::abs((mean - wanted).item<double>()) <= 1e-12);
    CHECK((dx - x.grad()).abs().max().item<double>() <= 1e-12);
    CHECK((dweight - weight.grad()).abs().max().item<double>() <= 1e-12);
    CHECK(per_target.masked_select(targets.lt(0)).abs().sum().item<double>() == 0.0);
  }
}

TEST_CASE("a batch without any target has loss 0 and gives no gradient") {
  const at::Tensor x = some_numbers({4, 6}).requires_grad_();
  const at::Tensor weight = some_numbers({9, 6}).requires_grad_();
  const auto [mean, per_target] = linear_cross_entropy(x, weight, weight, at::full({4}, -1, at::kLong));
  CHECK(mean.item<double>() == 0.0);
  torch::autograd::backward({mean}, {});
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("linear: gradients agree with finite differences, masters take theirs in float32") {
  const auto product = [](const std::vector<at::Tensor>& in) { return linear(in[0], in[1], in[1]); };
  CHECK(gradient_error(product, {some_numbers({2, 5, 6}), some_numbers({7, 6}, 1.0, 0.8)}) <= 1e-8);
  const at::Tensor master = some_numbers({7, 6}).to(at::kFloat).requires_grad_();
  const at::Tensor x = some_numbers({3, 6}).to(at::kBFloat16).requires_grad_();
  const at::Tensor y = linear(x, master, master.detach().to(at::kBFloat16));
  CHECK((y.scalar_type() == at::kBFloat16));
  torch::autograd::backward({y}, {at::ones_like(y)});
  CHECK((master.grad().scalar_type() == at::kFloat));
  CHECK((x.grad().scalar_type() == at::kBFloat16));
}
