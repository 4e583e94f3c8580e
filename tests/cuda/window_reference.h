#pragma once
// Sliding-window attention in plain loops over doubles, and the CUDA kernels on the PTX machine; see gca_reference.h.

#include <string>
#include <vector>

#include "kernels/sliding_window_attention/sliding_window_attention_cuda.h"
#include "tests/ptx_machine/machine.h"

namespace gca::testing {

/// q, dout (B, n, H, dh), k, v (B, P + n, H, dh), slopes (H).
struct WindowProblem {
  cuda::WindowShape shape;
  std::vector<float> q, k, v, dout, slopes;
};

struct WindowResults {
  std::vector<double> out, lse, dot;  // lse, dot (B, H, n)
  std::vector<double> dq, dk, dv;
  std::string reports;
  ptx::Counters counters;
};

WindowProblem random_window_problem(const cuda::WindowShape& shape, uint64_t seed);
WindowResults window_truth(const WindowProblem& problem, bool rounded);

WindowResults run_window_forward(const WindowProblem& problem, const ptx::RunOptions& options = {});
/// From the truth's out and lse.
WindowResults run_window_backward(const WindowProblem& problem, const WindowResults& truth,
                                  const ptx::RunOptions& options = {});

}  // namespace gca::testing
