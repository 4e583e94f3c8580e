#include "kernels/landmark_attention/landmark_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>

#include <array>
#include <cmath>
#include <string>

#include "kernels/common/implementation.h"
#include "tests/kernels/attention_test_support.h"
#include "tests/support/gradcheck.h"

namespace gca::kernels {
namespace {

using testing::some_numbers;

struct Problem {
  int64_t batch, positions, past, heads, head_dim, block_size;
};

// Blocks of one regular position and of more than a tile has queries; ends inside a block; positions after
// others.
constexpr std::array kProblems = {Problem{2, 53, 0, 2, 16, 8},   Problem{1, 37, 0, 3, 6, 2},
                                  Problem{1, 200, 0, 1, 32, 90}, Problem{2, 5, 16, 2, 10, 8},
                                  Problem{1, 1, 70, 2, 64, 32},  Problem{1, 64, 0, 2, 8, 64}};

constexpr size_t kQuantities = 5;
const std::array<const char*, kQuantities> kQuantityNames = {"out", "lse", "dq", "dk", "dv"};
using Quantities = std::array<at::Tensor, kQuantities>;

Quantities compute(const Problem& problem, at::ScalarType type, Implementation version) {
  const ImplementationGuard guard(version);
  const int64_t S = problem.block_size;
  const auto numbers = [&](int64_t rows, double phase) {
    return some_numbers({problem.batch, rows, problem.heads, problem.head_dim}, 1.5, phase)
        .to(at::kBFloat16)
        .to(type);
  };
  const int64_t n = problem.positions;
  const int64_t keys = problem.past + n;
  const at::Tensor q = numbers(n, 0), k = numbers(keys, 1), v = numbers(keys, 2), dout = numbers(n, 3);
  const double scale = 1 / std::sqrt(static_cast<double>(problem.head_dim));
  const auto [out, lse] = landmark_attention_forward(q, k, v, S, scale);
  const auto [dq, dk, dv] = landmark_attention_backward(dout, q, k, v, out, lse, S, scale);
  return {out, lse, dq, dk, dv};
}

TEST_CASE("landmark attention: every version within bounds of the plain one in double") {
  for (const Problem& problem : kProblems) {
    CAPTURE(problem.block_size);
    const Quantities truth = compute(problem, at::kDouble, Implementation::reference);
    const Quantities plain_bf16 = compute(problem, at::kBFloat16, Implementation::reference);
    for (const auto version : {Implementation::reference, Implementation::fast}) {
      CAPTURE(static_cast<int>(version));
      const Quantities in_float = compute(problem, at::kFloat, version);
      const Quantities in_bf16 = compute(problem, at::kBFloat16, version);
      for (size_t i = 0; i < kQuantities; ++i) {
        CAPTURE(std::string(kQuantityNames[i]));
        CHECK(relative_error(in_float[i], truth[i], 1e-30) <= 1e-5);
        CHECK(relative_error(in_bf16[i], truth[i], 1e-30) <=
              (i < 2 ? 2 : 3) * relative_error(plain_bf16[i], truth[i], 1e-30) + 2e-3);
      }
    }
  }
}

TEST_CASE("landmark attention: gradients agree with finite differences") {
  const std::vector<at::Tensor> inputs = {some_numbers({2, 11, 2, 4}, 1.0, 0),
                                          some_numbers({2, 14, 2, 4}, 1.0, 1),
                                          some_numbers({2, 14, 2, 4}, 1.0, 2)};
  CHECK(testing::gradient_error(
            [](const std::vector<at::Tensor>& in) { return landmark_attention(in[0], in[1], in[2], 3, 0.5); },
            inputs) <= 1e-6);
}

TEST_CASE("landmark attention: the same bits with any number of threads") {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Quantities one = compute(kProblems[0], at::kFloat, Implementation::fast);
  at::set_num_threads(2);
  const Quantities two = compute(kProblems[0], at::kFloat, Implementation::fast);
  at::set_num_threads(threads);
  for (size_t i = 0; i < kQuantities; ++i) CHECK(at::equal(one[i], two[i]));
}

}  // namespace
}  // namespace gca::kernels
