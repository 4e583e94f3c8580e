// Decoding kernels on the PTX machine: one query position, against the same truth as whole sequences.
#include <doctest/doctest.h>

#include "tests/cuda/gca_reference.h"
#include "tests/cuda/numbers.h"
#include "tests/cuda/on_machine.h"
#include "tests/cuda/strided.h"
#include "tests/cuda/window_reference.h"

using namespace gca;
using namespace gca::testing;
using cuda::Bf16;

namespace {

struct Decoded {
  std::vector<double> out;
  std::string reports;
};

Decoded decode_gca(const GcaProblem& problem) {
  const cuda::GcaShape& s = problem.shape;
  OnMachine machine;
  Strided<Bf16> q({s.batch, 1, s.heads, s.head_dim}, 8), out = q;
  Strided<Bf16> k({s.batch, s.chunks, s.keys, s.kv_heads, s.head_dim}, 8),
      v({s.batch, s.chunks, s.keys, s.kv_heads, s.head_dim}, 16);
  q.put(problem.q);
  k.put(problem.k);
  v.put(problem.v);
  std::vector<float> parts(static_cast<size_t>(s.batch * s.heads * s.slots * s.head_dim), kNan);
  cuda::GcaDecodeParams p;
  p.shape = s;
  p.q = q.on_device(machine.memory, "q", ptx::Access::read_only);
  p.k = k.on_device(machine.memory, "k", ptx::Access::read_only);
  p.v = v.on_device(machine.memory, "v", ptx::Access::read_only);
  p.idx = machine.in("idx", problem.idx);
  p.w = machine.in("w", problem.w);
  p.parts = machine.out("parts", parts);
  p.out = out.on_device(machine.memory, "out", ptx::Access::write_first);
  p.q_strides = {q.stride(0), q.stride(1), q.stride(2)};
  p.out_strides = {out.stride(0), out.stride(1), out.stride(2)};
  p.k_strides = {k.stride(0), k.stride(1), k.stride(2), k.stride(3)};
  p.v_strides = {v.stride(0), v.stride(1), v.stride(2), v.stride(3)};
  machine.launch("grouped_cross_attention_decode",
                 "gca_decode_kernelILi" + std::to_string(s.head_dim) + "ELi" +
                     std::to_string(cuda::round_up_keys(s.keys)) + "E",
                 cuda::gca_decode_launch_shape(s), p);
  machine.launch("grouped_cross_attention_decode", "gca_decode_sum_kernel",
                 cuda::gca_decode_sum_launch_shape(s), p);
  return {out.get(), machine.reports};
}

GcaProblem decoding_problem(int heads, int kv_heads, int keys, int head_dim, int slots, int softmax_one) {
  cuda::GcaShape s;
  s.batch = 2;
  s.positions = 1;
  s.heads = heads;
  s.kv_heads = kv_heads;
  s.chunks = 40;
  s.keys = keys;
  s.head_dim = head_dim;
  s.rows = 2;
  s.slots = slots;
  s.chunk_size = 64;
  s.first_offset = 5;
  s.scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  s.softmax_one = softmax_one;
  // Lists of row 0 are empty: draw two rows, keep the second.
  GcaProblem problem = random_gca_problem(s, 3);
  problem.shape.rows = 1;
  const auto row = static_cast<size_t>(slots);
  std::vector<int32_t> idx;
  std::vector<float> w;
  for (size_t batch = 0; batch < 2; ++batch) {
    for (size_t i = 0; i < row; ++i) {
      idx.push_back(problem.idx[(2 * batch + 1) * row + i]);
      w.push_back(problem.w[(2 * batch + 1) * row + i]);
    }
  }
  problem.idx = idx;
  problem.w = w;
  return problem;
}

/// The keys that are seen in a ring of `ring_rows` rows from row `begin` on; the ring's other rows are NaN.
Decoded decode_window(const WindowProblem& problem, int ring_rows, int begin) {
  const cuda::WindowShape& s = problem.shape;
  OnMachine machine;
  const int first = cuda::window_decode_first_key(s);
  std::vector<Bf16> k(static_cast<size_t>(s.batch * ring_rows * s.heads * s.head_dim), to_bf16(kNan)), v = k;
  const size_t row_size = static_cast<size_t>(s.heads) * static_cast<size_t>(s.head_dim);
  for (int b = 0; b < s.batch; ++b) {
    for (int j = first; j <= s.past; ++j) {
      const auto from = static_cast<size_t>(b * (s.past + 1) + j) * row_size;
      const auto to = static_cast<size_t>(b * ring_rows + (begin + j - first) % ring_rows) * row_size;
      for (size_t e = 0; e < row_size; ++e) {
        k[to + e] = to_bf16(problem.k[from + e]);
        v[to + e] = to_bf16(problem.v[from + e]);
      }
    }
  }
  Strided<Bf16> q({s.batch, 1, s.heads, s.head_dim}, 8), out = q;
  q.put(problem.q);
  std::vector<float> parts(
      static_cast<size_t>(s.batch * s.heads * cuda::window_decode_segments(s) * (s.head_dim + 2)), kNan);
  cuda::WindowDecodeParams p;
  p.shape = s;
  p.q = q.on_device(machine.memory, "q", ptx::Access::read_only);
  p.k = machine.in("k", k);
  p.v = machine.in("v", v);
  p.slopes = machine.in("slopes", problem.slopes);
  p.parts = machine.out("parts", parts);
  p.out = out.on_device(machine.memory, "out", ptx::Access::write_first);
  p.ring_rows = ring_rows;
  p.ring_begin = begin;
  p.q_strides = {q.stride(0), q.stride(1), q.stride(2)};
  p.out_strides = {out.stride(0), out.stride(1), out.stride(2)};
  p.k_strides = {ring_rows * static_cast<int64_t>(row_size), static_cast<int64_t>(row_size), s.head_dim};
  p.v_strides = p.k_strides;
  machine.launch("sliding_window_attention_decode",
                 "window_decode_kernelILi" + std::to_string(s.head_dim) + "E",
                 cuda::window_decode_launch_shape(s), p);
  machine.launch("sliding_window_attention_decode", "window_decode_join_kernel",
                 cuda::window_decode_join_launch_shape(s), p, cuda::window_decode_segments(s));
  return {out.get(), machine.reports};
}

}  // namespace

TEST_CASE("decoding reads the chunks of one position as the double reference does") {
  for (const GcaProblem& problem :
       {decoding_problem(10, 2, 63, 64, 8, 1), decoding_problem(10, 2, 64, 64, 3, 0),
        decoding_problem(12, 2, 40, 64, 5, 1), decoding_problem(5, 1, 15, 64, 32, 1),
        decoding_problem(6, 1, 31, 64, 4, 0), decoding_problem(5, 1, 127, 64, 4, 0),
        decoding_problem(10, 2, 15, 32, 4, 1), decoding_problem(10, 2, 31, 32, 4, 1),
        decoding_problem(10, 2, 63, 32, 4, 1), decoding_problem(5, 1, 127, 32, 4, 0),
        decoding_problem(5, 1, 16, 128, 2, 1), decoding_problem(5, 1, 30, 128, 2, 1),
        decoding_problem(10, 2, 63, 128, 2, 1), decoding_problem(5, 1, 127, 128, 2, 0)}) {
    CAPTURE(problem.shape.head_dim);
    CAPTURE(problem.shape.keys);
    const GcaTruth truth = gca_truth(problem, false), plain = gca_truth(problem, true);
    const Decoded run = decode_gca(problem);
    CHECK(run.reports == "");
    CHECK(largest_difference(run.out, truth.out) <= error_bound(truth.out, plain.out, 2));
    CHECK(unmissed_syncs([&] { return decode_gca(problem).reports; }) == "");
  }
}

TEST_CASE("decoding over a ring of keys, wherever it begins") {
  struct Case {
    int past, window, head_dim, ring_rows, begin;
  };
  for (const Case& c : {Case{200, 128, 64, 129, 77}, Case{30, 512, 64, 513, 500}, Case{600, 512, 64, 520, 3},
                        Case{0, 64, 64, 65, 64}, Case{100, 64, 32, 101, 0}, Case{129, 128, 128, 131, 130}}) {
    CAPTURE(c.past);
    const WindowProblem problem = random_window_problem({2, 1, c.past, 3, c.head_dim, c.window, 0.125F}, 9);
    const WindowResults truth = window_truth(problem, false), plain = window_truth(problem, true);
    const Decoded run = decode_window(problem, c.ring_rows, c.begin);
    CHECK(run.reports == "");
    CHECK(largest_difference(run.out, truth.out) <= error_bound(truth.out, plain.out, 2));
    CHECK(unmissed_syncs([&] { return decode_window(problem, c.ring_rows, c.begin).reports; }) == "");
  }
}
