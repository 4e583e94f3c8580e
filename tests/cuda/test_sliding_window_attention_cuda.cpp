// The CUDA kernels of sliding-window attention, their PTX executed on the CPU, against loops over doubles.
#include <doctest/doctest.h>

#include "tests/cuda/kernel_module.h"
#include "tests/cuda/numbers.h"
#include "tests/cuda/window_reference.h"

using namespace gca;
using namespace gca::testing;

namespace {

struct Case {
  const char* name;
  int batch, positions, past, heads, head_dim, window;

  cuda::WindowShape shape() const {
    return {batch, positions, past, heads, head_dim, window, 1.0F / std::sqrt(static_cast<float>(head_dim))};
  }
};

const Case kCases[] = {
    {"one block, window within it", 2, 100, 0, 2, 64, 20},
    {"window over several tiles", 1, 300, 0, 1, 64, 150},
    {"a past as long as the window", 1, 70, 65, 3, 64, 65},
    {"a past shorter than the window", 1, 130, 33, 1, 64, 100},
    {"window of 0: only itself", 1, 70, 0, 1, 64, 0},
    {"window of 1", 1, 129, 5, 1, 64, 1},
    {"window beyond everything", 1, 140, 10, 1, 64, 100000},
    {"one position", 1, 1, 64, 4, 64, 64},
    {"head size 32", 1, 150, 7, 2, 32, 63},
    {"head size 128", 1, 150, 7, 1, 128, 90},
};

}  // namespace

TEST_CASE("sliding-window attention forward on the PTX machine equals the double reference") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const WindowProblem problem = random_window_problem(c.shape(), 5);
    const WindowResults truth = window_truth(problem, false), plain = window_truth(problem, true);
    const WindowResults run = run_window_forward(problem);
    CHECK(run.reports == "");
    CHECK(largest_difference(run.out, truth.out) <= error_bound(truth.out, plain.out, 2));
    CHECK(largest_difference(run.lse, truth.lse) <= 2e-5 * (1 + largest_magnitude(truth.lse)));
    CHECK(run.counters.shared_wavefronts == run.counters.shared_wavefronts_least);
  }
}

TEST_CASE("sliding-window attention backward on the PTX machine equals the double reference") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const WindowProblem problem = random_window_problem(c.shape(), 6);
    const WindowResults truth = window_truth(problem, false), plain = window_truth(problem, true);
    const WindowResults run = run_window_backward(problem, plain);
    CHECK(run.reports == "");
    CHECK(largest_difference(run.dot, plain.dot) <= 1e-5 * (1 + largest_magnitude(truth.dot)));
    CHECK(largest_difference(run.dq, truth.dq) <= error_bound(truth.dq, plain.dq, 3));
    CHECK(largest_difference(run.dk, truth.dk) <= error_bound(truth.dk, plain.dk, 3));
    CHECK(largest_difference(run.dv, truth.dv) <= error_bound(truth.dv, plain.dv, 3));
    CHECK(run.counters.shared_wavefronts == run.counters.shared_wavefronts_least);
  }
}

TEST_CASE("each synchronisation of sliding-window attention, deleted, is reported") {
  for (const Case& c : kCases) {
    if (c.positions < 100) continue;  // enough tiles for every stage to be used again
    CAPTURE(c.name);
    const WindowProblem problem = random_window_problem(c.shape(), 7);
    const WindowResults plain = window_truth(problem, true);
    CHECK(unmissed_syncs([&] { return run_window_forward(problem).reports; }) == "");
    CHECK(unmissed_syncs([&] { return run_window_backward(problem, plain).reports; }) == "");
  }
}
