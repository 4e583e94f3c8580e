// The CUDA kernels of grouped cross-attention, their PTX executed on the CPU, against loops over doubles.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/cuda/gca_launches.h"
#include "tests/cuda/kernel_module.h"
#include "tests/cuda/numbers.h"

using namespace gca;
using namespace gca::testing;

namespace {

struct Case {
  const char* name;
  cuda::GcaShape shape;
};

/// positions, heads, kv_heads, chunks, keys, head_dim, slots, chunk_size, first_offset, softmax_one
cuda::GcaShape shape_of(int batch, int positions, int heads, int kv_heads, int chunks, int keys, int head_dim,
                        int slots, int chunk_size, int first_offset, int softmax_one) {
  cuda::GcaShape s;
  s.batch = batch;
  s.positions = positions;
  s.heads = heads;
  s.kv_heads = kv_heads;
  s.chunks = chunks;
  s.keys = keys;
  s.head_dim = head_dim;
  s.rows = (first_offset + positions + chunk_size - 1) / chunk_size;
  s.slots = slots;
  s.chunk_size = chunk_size;
  s.first_offset = first_offset;
  s.scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  s.softmax_one = softmax_one;
  return s;
}

// Every instantiation, every kind of raggedness: a run that begins and ends inside chunks, chunks of 15, 31,
// 63, 127 keys and of sizes that leave whole blocks of keys empty, heads that share keys, K from 1 to 32,
// more than eight warps of rows.
const Case kCases[] = {
    {"chunks of 63, two heads a key head", shape_of(2, 150, 4, 2, 5, 63, 64, 3, 64, 10, 1)},
    {"chunks of 64, plain softmax", shape_of(1, 130, 2, 2, 4, 64, 64, 2, 64, 0, 0)},
    {"chunks of 64, softmax off by one", shape_of(1, 200, 4, 1, 5, 64, 64, 4, 64, 0, 1)},
    {"40 keys of 64", shape_of(1, 130, 1, 1, 6, 40, 64, 4, 41, 5, 0)},
    {"chunks of 15, K = 32", shape_of(1, 50, 4, 1, 40, 15, 64, 32, 16, 3, 1)},
    {"chunks of 31", shape_of(1, 70, 3, 1, 6, 31, 64, 5, 32, 31, 1)},
    {"chunks of 127", shape_of(1, 200, 2, 1, 3, 127, 64, 2, 128, 60, 1)},
    {"six heads of one key head", shape_of(1, 100, 6, 1, 4, 63, 64, 3, 64, 0, 0)},
    {"head size 32", shape_of(2, 40, 8, 2, 5, 7, 32, 2, 8, 3, 1)},
    {"head size 32, chunks of 17", shape_of(1, 40, 4, 1, 5, 17, 32, 2, 18, 3, 0)},
    {"head size 32, chunks of 63", shape_of(1, 130, 2, 1, 4, 63, 32, 2, 64, 0, 1)},
    {"head size 32, chunks of 100", shape_of(1, 310, 1, 1, 3, 100, 32, 2, 101, 0, 0)},
    {"head size 128, chunks of 16", shape_of(1, 90, 2, 1, 5, 16, 128, 2, 16, 0, 0)},
    {"head size 128, chunks of 32", shape_of(1, 40, 2, 1, 5, 32, 128, 2, 33, 0, 0)},
    {"head size 128, chunks of 63", shape_of(1, 100, 4, 2, 4, 63, 128, 3, 64, 2, 1)},
    {"head size 128, chunks of 127", shape_of(1, 150, 2, 1, 3, 127, 128, 2, 128, 20, 1)},
    {"one position", shape_of(1, 1, 4, 2, 5, 63, 64, 4, 64, 63, 1)},
};

}  // namespace

TEST_CASE("grouped cross-attention forward on the PTX machine equals the double reference") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const GcaProblem problem = random_gca_problem(c.shape, 11);
    const GcaTruth truth = gca_truth(problem, false), plain = gca_truth(problem, true);
    for (const GcaForwardVersion version : gca_forward_versions(c.shape)) {
      CAPTURE(version);
      const GcaRun run = run_gca_forward(problem, {}, version);
      CHECK(run.reports == "");
      CHECK(largest_difference(run.out, truth.out) <= error_bound(truth.out, plain.out, 2));
      CHECK(largest_difference(run.lse, truth.lse) <= 1e-5 * (1 + largest_magnitude(truth.lse)));
      CHECK(run.counters.shared_wavefronts == run.counters.shared_wavefronts_least);
    }
  }
}

TEST_CASE("grouped cross-attention backward on the PTX machine equals the double reference") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const GcaProblem problem = random_gca_problem(c.shape, 12);
    const GcaTruth truth = gca_truth(problem, false), plain = gca_truth(problem, true);
    const GcaRun run = run_gca_backward(problem, truth);
    CHECK(run.reports == "");
    CHECK(largest_difference(run.dq, truth.dq) <= error_bound(truth.dq, plain.dq, 3));
    CHECK(largest_difference(run.dk, truth.dk) <= error_bound(truth.dk, plain.dk, 3));
    CHECK(largest_difference(run.dv, truth.dv) <= error_bound(truth.dv, plain.dv, 3));
    CHECK(largest_difference(run.delta, truth.delta) <= 1e-5 * (1 + largest_magnitude(truth.delta)));
    CHECK(largest_difference(run.dw, truth.dw) <= 1e-4 * (1 + largest_magnitude(truth.dw)));
    CHECK(run.counters.shared_wavefronts == run.counters.shared_wavefronts_least);
  }
}

TEST_CASE("each synchronisation of grouped cross-attention, deleted, is reported") {
  for (const Case& c : kCases) {
    if (c.shape.positions == 1) continue;  // the same kernel as others, with one warp at work
    CAPTURE(c.name);
    // The third chunk is the first that comes where another was.
    cuda::GcaShape shape = c.shape;
    shape.slots = std::max(shape.slots, 3);
    shape.chunks = std::max(shape.chunks, 3);
    const GcaProblem problem = random_gca_problem(shape, 13, 0);
    const GcaTruth truth = gca_truth(problem, false);
    for (const GcaForwardVersion version : gca_forward_versions(c.shape))
      CHECK(unmissed_syncs([&] { return run_gca_forward(problem, {}, version).reports; }) == "");
    CHECK(unmissed_syncs([&] { return run_gca_backward(problem, truth).reports; }) == "");
  }
}

TEST_CASE(
    "grouped cross-attention gives the same bits twice, with other warps first and on an adversary's "
    "arithmetic within bounds") {
  const GcaProblem problem = random_gca_problem(kCases[0].shape, 14);
  const GcaTruth truth = gca_truth(problem, false), plain = gca_truth(problem, true);
  for (const GcaForwardVersion version : gca_forward_versions(problem.shape)) {
    CAPTURE(version);
    const GcaRun forward = run_gca_forward(problem, {}, version);
    CHECK(run_gca_forward(problem, {}, version, false).out == forward.out);  // without statistics
    for (const uint64_t seed : {2, 3, 4}) {
      const GcaRun again = run_gca_forward(problem, {.seed = seed}, version);
      CHECK(forward.out == again.out);
      CHECK(forward.lse == again.lse);
    }
    const GcaRun hostile = run_gca_forward(problem, {.adversary = true}, version);
    CHECK(hostile.out != forward.out);
    CHECK(largest_difference(hostile.out, truth.out) <= error_bound(truth.out, plain.out, 2));
  }
  const GcaRun backward = run_gca_backward(problem, truth),
               backward_again = run_gca_backward(problem, truth, {.seed = 2});
  CHECK(backward.dq == backward_again.dq);
  CHECK(backward.dk == backward_again.dk);
  CHECK(backward.dv == backward_again.dv);
  CHECK(backward.dw == backward_again.dw);
  const GcaRun hostile_back = run_gca_backward(problem, truth, {.adversary = true});
  CHECK(largest_difference(hostile_back.dq, truth.dq) <= error_bound(truth.dq, plain.dq, 3));
  CHECK(largest_difference(hostile_back.dk, truth.dk) <= error_bound(truth.dk, plain.dk, 3));
}
