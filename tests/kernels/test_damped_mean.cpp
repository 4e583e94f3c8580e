#include "kernels/damped_mean/damped_mean.h"

#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/common/implementation.h"
#include "tests/kernels/attention_test_support.h"
#include "tests/support/gradcheck.h"

namespace gca::kernels {
namespace {

using testing::some_numbers;

/// y, dx and drate.
std::vector<at::Tensor> compute(at::ScalarType type, Implementation version) {
  const ImplementationGuard guard(version);
  const at::Tensor x = some_numbers({2, 33, 70}, 2.0, 0).to(at::kBFloat16).to(type).detach().requires_grad_();
  const at::Tensor rate = some_numbers({70}, 3.0, 1)
                              .to(at::kFloat)
                              .to(type == at::kDouble ? at::kDouble : at::kFloat)
                              .detach()
                              .requires_grad_();
  const at::Tensor y = damped_mean(x, rate);
  torch::autograd::backward({y}, {some_numbers(y.sizes(), 1.0, 2).to(at::kBFloat16).to(type)});
  return {y.detach(), x.grad(), rate.grad()};
}

TEST_CASE("damped mean: every version within bounds of the plain one in double") {
  const std::vector<at::Tensor> truth = compute(at::kDouble, Implementation::reference);
  const std::vector<at::Tensor> in_double = compute(at::kDouble, Implementation::fast);
  const std::vector<at::Tensor> in_float = compute(at::kFloat, Implementation::fast);
  const std::vector<at::Tensor> in_bf16 = compute(at::kBFloat16, Implementation::fast);
  for (size_t i = 0; i < truth.size(); ++i) {
    CAPTURE(i);
    CHECK(relative_error(in_double[i], truth[i]) <= 1e-13);
    CHECK(relative_error(in_float[i], truth[i]) <= 1e-5);
    CHECK(relative_error(in_bf16[i], truth[i]) <= 4e-3);
  }
}

TEST_CASE("damped mean: gradients agree with finite differences") {
  CHECK(testing::gradient_error([](const std::vector<at::Tensor>& in) { return damped_mean(in[0], in[1]); },
                                {some_numbers({2, 9, 5}, 1.0, 0), some_numbers({5}, 2.0, 1)}) <= 1e-6);
}

TEST_CASE("damped mean: step by step as at once, and the same bits with any number of threads") {
  const at::NoGradGuard no_grad;
  const at::Tensor x = some_numbers({3, 20, 130}, 2.0, 0).to(at::kFloat);
  const at::Tensor rate = some_numbers({130}, 2.0, 1).to(at::kFloat);
  at::Tensor mean;
  const at::Tensor whole = damped_mean_after(x, rate, mean);
  at::Tensor moved;
  std::vector<at::Tensor> parts;
  for (int64_t t = 0; t < x.size(1); ++t) parts.push_back(damped_mean_after(x.narrow(1, t, 1), rate, moved));
  CHECK(same_bits(at::cat(parts, 1), whole));
  CHECK(same_bits(moved, mean));
  const ThreadCountGuard one_thread(1);
  CHECK(same_bits(damped_mean(x, rate), whole));
}

}  // namespace
}  // namespace gca::kernels
