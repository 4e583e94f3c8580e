#include "kernels/selective_scan/selective_scan.h"

#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>
#include <string>

#include "kernels/common/implementation.h"
#include "kernels/common/instruction_set.h"
#include "tests/kernels/attention_test_support.h"
#include "tests/support/gradcheck.h"

namespace gca::kernels {
namespace {

using testing::some_numbers;

struct Problem {
  int64_t batch, positions, channels, states;
};

// Ends inside a chunk and inside a vector of channels; more channels than a task has; one position, one state.
constexpr std::array kProblems = {Problem{2, 70, 24, 4}, Problem{1, 33, 150, 16}, Problem{3, 1, 7, 3},
                                  Problem{2, 64, 64, 1}};

constexpr size_t kInputs = 8;
const std::array<const char*, kInputs> kInputNames = {"u", "delta", "z", "b",
                                                      "c", "a_log", "d", "delta_bias"};

SelectiveScanInputs inputs_of(const std::vector<at::Tensor>& in) {
  return {in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7]};
}

/// In double; what is rounded to bf16 in some runs is so in all.
std::vector<at::Tensor> some_inputs(const Problem& problem) {
  const auto rows = [&](int64_t columns, double scale, double phase) {
    return some_numbers({problem.batch, problem.positions, columns}, scale, phase)
        .to(at::kBFloat16)
        .to(at::kDouble);
  };
  const int64_t c = problem.channels, N = problem.states;
  return {rows(c, 1.5, 0),
          rows(c, 2.0, 1),
          rows(c, 2.0, 2),
          rows(N, 1.0, 3),
          rows(N, 1.0, 4),
          some_numbers({c, N}, 1.0, 5).to(at::kFloat).to(at::kDouble),
          some_numbers({c}, 1.0, 6).to(at::kFloat).to(at::kDouble),
          some_numbers({c}, 3.0, 7).to(at::kFloat).to(at::kDouble)};
}

/// out, the state after, then the gradients.
std::vector<at::Tensor> compute(const Problem& problem, at::ScalarType type, Implementation version) {
  const ImplementationGuard guard(version);
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& x : some_inputs(problem)) {
    const bool is_weight = leaves.size() >= 5;
    const at::ScalarType own = is_weight && type == at::kBFloat16 ? at::kFloat : type;
    leaves.push_back(x.to(own).detach().requires_grad_());
  }
  const at::Tensor out = selective_scan(inputs_of(leaves));
  torch::autograd::backward({out}, {some_numbers(out.sizes(), 1.0, 8).to(at::kBFloat16).to(type)});
  std::vector<at::Tensor> results = {out.detach()};
  const at::NoGradGuard no_grad;
  at::Tensor state;
  CHECK(same_bits(selective_scan_after(inputs_of(leaves), state), out));
  results.push_back(state);
  for (const at::Tensor& leaf : leaves) results.push_back(leaf.grad());
  return results;
}

void check_within_bounds(const Problem& problem, Implementation version) {
  const std::vector<at::Tensor> truth = compute(problem, at::kDouble, Implementation::reference);
  const std::vector<at::Tensor> plain_bf16 = compute(problem, at::kBFloat16, Implementation::reference);
  const std::vector<at::Tensor> in_float = compute(problem, at::kFloat, version);
  const std::vector<at::Tensor> in_bf16 = compute(problem, at::kBFloat16, version);
  for (size_t i = 0; i < truth.size(); ++i) {
    const std::string name = i < 2 ? (i == 0 ? "out" : "state") : kInputNames[i - 2];
    CAPTURE(name);
    CHECK(relative_error(in_float[i], truth[i]) <= 1e-5);
    CHECK(relative_error(in_bf16[i], truth[i]) <= 2 * relative_error(plain_bf16[i], truth[i]) + 2e-3);
  }
}

TEST_CASE("selective scan: every version within bounds of the plain one in double") {
  for (const Problem& problem : kProblems) {
    CAPTURE(problem.channels);
    check_within_bounds(problem, Implementation::reference);
    const std::string best(instruction_set().name);
    for (const InstructionSet& set : runnable_instruction_sets()) {
      CAPTURE(std::string(set.name));
      use_instruction_set(set.name);
      check_within_bounds(problem, Implementation::fast);
    }
    use_instruction_set(best);
  }
}

TEST_CASE("selective scan: gradients agree with finite differences") {
  CHECK(
      testing::gradient_error([](const std::vector<at::Tensor>& in) { return selective_scan(inputs_of(in)); },
                              some_inputs({2, 9, 5, 3})) <= 1e-6);
}

TEST_CASE("selective scan: small steps keep their digits") {
  // softplus(-12) is 6.1e-6: 1 + e^-12 has lost two of seven digits of it.
  std::vector<at::Tensor> in = some_inputs({1, 40, 20, 4});
  in[1] = in[1] * 0 - 12;
  in[7] = in[7] * 0;
  const at::NoGradGuard no_grad;
  at::Tensor truth, fast;
  selective_scan_after(inputs_of(in), truth);
  for (at::Tensor& x : in) x = x.to(at::kFloat);
  selective_scan_after(inputs_of(in), fast);
  CHECK(relative_error(fast, truth) <= 2e-6);
}

TEST_CASE("selective scan: step by step as at once, and the same bits with any number of threads") {
  for (const auto version : {Implementation::reference, Implementation::fast}) {
    const ImplementationGuard guard(version);
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> in = some_inputs(kProblems[0]);
    for (at::Tensor& x : in) x = x.to(at::kFloat);
    at::Tensor state;
    const at::Tensor whole = selective_scan_after(inputs_of(in), state);
    at::Tensor moved;
    std::vector<at::Tensor> parts;
    for (int64_t t = 0; t < kProblems[0].positions; ++t) {
      std::vector<at::Tensor> one = in;
      for (size_t i = 0; i < 5; ++i) one[i] = in[i].narrow(1, t, 1);
      parts.push_back(selective_scan_after(inputs_of(one), moved));
    }
    CHECK(same_bits(at::cat(parts, 1), whole));
    CHECK(same_bits(moved, state));
  }
  const auto with_threads = [](int count) {
    const ThreadCountGuard guard(count);
    return compute(kProblems[1], at::kFloat, Implementation::fast);
  };
  const std::vector<at::Tensor> one = with_threads(1);
  const std::vector<at::Tensor> two = with_threads(2);
  for (size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], two[i]));
}

}  // namespace
}  // namespace gca::kernels
