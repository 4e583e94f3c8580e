// RMSNorm, SwiGLU, rotary: the fast version against the reference, and both gradients against finite differences.

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <doctest/doctest.h>

#include "kernels/common/implementation.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"
#include "kernels/swiglu/swiglu.h"
#include "tests/support/gradcheck.h"

using namespace gca;
using namespace gca::kernels;
using namespace gca::testing;

namespace {

using Operator = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

struct Case {
  const char* name;
  Operator run;
  std::vector<at::Tensor> inputs;  // double
};

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const int64_t d : {1, 7, 64}) {
    list.push_back(
        {"rms_norm",
         [](const std::vector<at::Tensor>& in) { return rms_norm(in[0], in[1], 1e-5, in[0].scalar_type()); },
         {some_numbers({3, 67, d}, 2.0), some_numbers({d}, 1.0, 0.4)}});
    // Both results are used, so that both gradients come back; then each alone.
    list.push_back(
        {"add_rms_norm",
         [](const std::vector<at::Tensor>& in) {
           const auto [x, y] = add_rms_norm(in[0], in[1], in[2], 1e-5, in[0].scalar_type());
           return x * 0.3 + y;
         },
         {some_numbers({3, 67, d}, 2.0), some_numbers({3, 67, d}, 1.0, 0.8), some_numbers({d}, 1.0, 0.4)}});
    list.push_back(
        {"add_rms_norm",
         [](const std::vector<at::Tensor>& in) {
           return std::get<1>(add_rms_norm(in[0], in[1], in[2], 1e-5, in[0].scalar_type()));
         },
         {some_numbers({201, d}, 2.0), some_numbers({201, d}, 1.0, 0.8), some_numbers({d}, 1.0, 0.4)}});
    list.push_back({"swiglu",
                    [](const std::vector<at::Tensor>& in) { return swiglu(in[0], in[1]); },
                    {some_numbers({5, 3, d}, 4.0), some_numbers({5, 3, d}, 2.0, 0.9)}});
  }
  list.push_back({"rotary",
                  [](const std::vector<at::Tensor>& in) { return rotary(in[0], 10000.0); },
                  {some_numbers({3, 9, 2, 10})}});
  list.push_back({"rotary, one position",
                  [](const std::vector<at::Tensor>& in) { return rotary(in[0], 10000.0); },
                  {some_numbers({2, 1, 3, 4})}});
  return list;
}

struct Run {
  at::Tensor out;
  std::vector<at::Tensor> gradients;
};

Run run_case(const Case& one, at::ScalarType dtype, Implementation version) {
  const ImplementationGuard guard(version);
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : one.inputs)
    leaves.push_back(input.to(dtype, false, /*copy=*/true).requires_grad_());
  Run run{one.run(leaves), {}};
  torch::autograd::backward({run.out}, {some_numbers(run.out.sizes(), 1.0, 0.2).to(dtype)});
  for (const at::Tensor& leaf : leaves) run.gradients.push_back(leaf.grad());
  return run;
}

double error_of(const at::Tensor& value, const at::Tensor& wanted) {
  return (value.to(at::kDouble) - wanted.to(at::kDouble)).abs().max().item<double>() /
         std::max(1e-30, wanted.abs().max().item<double>());
}

}  // namespace

TEST_CASE("fast and reference agree with float64 in every type") {
  for (const Case& one : cases()) {
    CAPTURE(one.name);
    const Run exact = run_case(one, at::kDouble, Implementation::reference);
    for (const auto& pair : {std::pair{at::kDouble, 1e-13}, {at::kFloat, 2e-6}}) {
      const auto& dtype = pair.first;
      const auto& tolerance = pair.second;
      CAPTURE(dtype);
      const Run fast = run_case(one, dtype, Implementation::fast);
      CHECK(error_of(fast.out, exact.out) <= tolerance);
      for (size_t i = 0; i < exact.gradients.size(); ++i)
        CHECK(error_of(fast.gradients[i], exact.gradients[i]) <= 10 * tolerance);
    }
  }
}

TEST_CASE("bf16 errs at most twice as much as the reference in bf16, gradients three times") {
  for (const Case& one : cases()) {
    if (std::string(one.name).ends_with("rms_norm")) continue;  // its input stays float32; see below
    CAPTURE(one.name);
    const Run exact = run_case(one, at::kDouble, Implementation::reference);
    const Run plain = run_case(one, at::kBFloat16, Implementation::reference);
    const Run fast = run_case(one, at::kBFloat16, Implementation::fast);
    constexpr double kFloor = 1.0 / 512;
    CHECK(error_of(fast.out, exact.out) <= 2 * error_of(plain.out, exact.out) + kFloor);
    for (size_t i = 0; i < exact.gradients.size(); ++i)
      CHECK(error_of(fast.gradients[i], exact.gradients[i]) <=
            3 * error_of(plain.gradients[i], exact.gradients[i]) + kFloor);
  }
}

TEST_CASE("gradients agree with finite differences") {
  for (const Case& one : cases()) {
    CAPTURE(one.name);
    for (const Implementation version : {Implementation::fast, Implementation::reference}) {
      const ImplementationGuard guard(version);
      CHECK(gradient_error(one.run, one.inputs) <= 1e-7);
    }
  }
}

TEST_CASE("rms_norm gives rows of root-mean-square 1, and rounds once to bf16") {
  const at::Tensor x = some_numbers({50, 48}, 3.0).to(at::kFloat);
  const at::Tensor ones = at::ones({48});
  const at::Tensor y = rms_norm(x, ones, 0.0, at::kFloat);
  CHECK((y.square().mean(-1) - 1).abs().max().item<double>() <= 1e-5);
  CHECK(at::equal(rms_norm(x, ones, 0.0, at::kBFloat16), y.to(at::kBFloat16)));
}

TEST_CASE("add_rms_norm takes a bf16 update, and gives its gradient in bf16, and the sum alone may be used") {
  const at::Tensor residual = some_numbers({5, 48}, 3.0).to(at::kFloat).requires_grad_();
  const at::Tensor update = some_numbers({5, 48}, 1.0, 0.6).to(at::kBFloat16).requires_grad_();
  const at::Tensor weight = some_numbers({48}, 1.0, 0.2).to(at::kFloat).requires_grad_();
  const auto [x, y] = add_rms_norm(residual, update, weight, 1e-5, at::kBFloat16);
  CHECK(at::equal(x, residual + update));
  CHECK(at::equal(y, rms_norm(x.detach(), weight, 1e-5, at::kBFloat16)));
  torch::autograd::backward({x}, {at::ones_like(x)}, /*retain_graph=*/true);
  CHECK((update.grad().scalar_type() == at::kBFloat16));
  CHECK(at::equal(residual.grad(), at::ones({5, 48})));
  residual.mutable_grad() = at::Tensor();
  update.mutable_grad() = at::Tensor();
  torch::autograd::backward({x.sum() + y.to(at::kFloat).sum()}, {});
  CHECK(at::equal(update.grad(), residual.grad().to(at::kBFloat16)));
}

TEST_CASE("rotary keeps lengths, leaves position 0, and scores depend on distance only") {
  const at::Tensor same = some_numbers({1, 1, 1, 8}).expand({1, 12, 1, 8}).contiguous();
  const at::Tensor turned = rotary(same, 100.0);
  CHECK(at::equal(turned.select(1, 0), same.select(1, 0)));
  CHECK((turned.norm(2, -1) - same.norm(2, -1)).abs().max().item<double>() <= 1e-12);
  const auto score = [&](int64_t i, int64_t j) {
    return (turned.select(1, i) * turned.select(1, j)).sum().item<double>();
  };
  CHECK(std::abs(score(7, 4) - score(5, 2)) <= 1e-12);
  CHECK(std::abs(score(7, 4) - score(7, 5)) > 1e-3);
}
