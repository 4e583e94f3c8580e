// Products with master weights, and the output projection fused with its loss.

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <doctest/doctest.h>

#include "kernels/common/implementation.h"
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

TEST_CASE("bf16: loss and gradients of every version near those in double on the same numbers") {
  struct Sizes {
    int64_t rows, width, vocabulary;
  };
  for (const Sizes& size : {Sizes{1, 12, 33}, {70, 7, 64}, {700, 48, 333}, {513, 64, 1111}}) {
    CAPTURE(size.rows);
    CAPTURE(size.vocabulary);
    const at::Tensor x = some_numbers({size.rows, size.width}, 2.0).to(at::kBFloat16);
    const at::Tensor weight = some_numbers({size.vocabulary, size.width}, 1.0, 0.5).to(at::kBFloat16);
    const at::Tensor targets =
        at::arange(size.rows, at::kLong) * 7 % (size.vocabulary + 1) - (size.rows > 1 ? 1 : 0);
    const auto run = [&](at::ScalarType type, Implementation version) {
      const ImplementationGuard guard(version);
      const at::Tensor leaf = x.to(type, false, true).requires_grad_();
      const at::Tensor master = weight.to(type == at::kDouble ? at::kDouble : at::kFloat).requires_grad_();
      const at::Tensor compute = type == at::kDouble ? master : weight;
      const auto [mean, per_target] = linear_cross_entropy(leaf, master, compute, targets);
      torch::autograd::backward({mean}, {});
      return std::vector<at::Tensor>{per_target.to(at::kDouble), leaf.grad().to(at::kDouble),
                                     master.grad().to(at::kDouble)};
    };
    const auto error = [](const at::Tensor& a, const at::Tensor& truth) {
      return (a - truth).abs().max().item<double>() / truth.abs().max().item<double>();
    };
    const auto truth = run(at::kDouble, Implementation::reference);
    const auto plain = run(at::kBFloat16, Implementation::reference);
    for (const Implementation version : {Implementation::fast, Implementation::emulated}) {
      CAPTURE(static_cast<int>(version));
      const auto fast = run(at::kBFloat16, version);
      CHECK(error(fast[0], truth[0]) <= 1e-5);  // float32 logits
      for (const size_t i : {1, 2}) CHECK(error(fast[i], truth[i]) <= 3 * error(plain[i], truth[i]) + 2e-3);
    }
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
  const auto product = [](const std::vector<at::Tensor>& in) { return linear(in[0], {in[1], in[1]}); };
  CHECK(gradient_error(product, {some_numbers({2, 5, 6}), some_numbers({7, 6}, 1.0, 0.8)}) <= 1e-8);
  const at::Tensor master = some_numbers({7, 6}).to(at::kFloat).requires_grad_();
  const at::Tensor x = some_numbers({3, 6}).to(at::kBFloat16).requires_grad_();
  const at::Tensor y = linear(x, {master, master.detach().to(at::kBFloat16)});
  CHECK((y.scalar_type() == at::kBFloat16));
  torch::autograd::backward({y}, {at::ones_like(y)});
  CHECK((master.grad().scalar_type() == at::kFloat));
  CHECK((x.grad().scalar_type() == at::kBFloat16));
}
