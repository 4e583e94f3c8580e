#include "tests/cuda/window_reference.h"

#include <algorithm>

#include "tests/cuda/kernel_module.h"
#include "tests/cuda/strided.h"

namespace gca::testing {

using cuda::Bf16;

WindowProblem random_window_problem(const cuda::WindowShape& shape, uint64_t seed) {
  WindowProblem problem;
  problem.shape = shape;
  RandomNumbers random(seed);
  const auto fill = [&](std::vector<float>& values, int64_t rows, float scale) {
    values.resize(static_cast<size_t>(rows * shape.heads * shape.head_dim));
    for (float& x : values) x = to_float(to_bf16(random.normal(scale)));
  };
  fill(problem.q, int64_t{shape.batch} * shape.positions, 2);
  fill(problem.k, int64_t{shape.batch} * (shape.past + shape.positions), 2);
  fill(problem.v, int64_t{shape.batch} * (shape.past + shape.positions), 1);
  fill(problem.dout, int64_t{shape.batch} * shape.positions, 1);
  for (int32_t head = 0; head < shape.heads; ++head)
    problem.slopes.push_back(
        std::exp2(-8.0F * static_cast<float>(head + 1) / static_cast<float>(shape.heads)));
  return problem;
}

WindowResults window_truth(const WindowProblem& problem, bool rounded) {
  const cuda::WindowShape& s = problem.shape;
  const auto round = [rounded](double x) { return rounded ? rounded_to_bf16(x) : x; };
  WindowResults t;
  t.out.assign(problem.q.size(), 0);
  t.dq.assign(problem.q.size(), 0);
  t.dk.assign(problem.k.size(), 0);
  t.dv.assign(problem.k.size(), 0);
  t.lse.assign(problem.q.size() / static_cast<size_t>(s.head_dim), 0);
  t.dot.assign(t.lse.size(), 0);
  const int64_t dh = s.head_dim, keys = s.past + s.positions;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      for (int64_t i = 0; i < s.positions; ++i) {
        const auto query = static_cast<size_t>(((b * s.positions + i) * s.heads + h) * dh);
        const auto stat = static_cast<size_t>((b * s.heads + h) * s.positions + i);
        const int64_t last = s.past + i, first = std::max<int64_t>(0, last - s.window);
        const auto key = [&](int64_t j) { return static_cast<size_t>(((b * keys + j) * s.heads + h) * dh); };
        std::vector<double> p, dp;
        double largest = -1e300, denominator = 0;
        for (int64_t j = first; j <= last; ++j) {
          double score = 0, product = 0;
          for (size_t e = 0; e < static_cast<size_t>(dh); ++e) {
            score += double{problem.q[query + e]} * problem.k[key(j) + e];
            product += double{problem.dout[query + e]} * problem.v[key(j) + e];
          }
          p.push_back(score * s.scale -
                      double{problem.slopes[static_cast<size_t>(h)]} * static_cast<double>(last - j));
          dp.push_back(product);
          largest = std::max(largest, p.back());
        }
        for (double& x : p) denominator += x = std::exp(x - largest);
        t.lse[stat] = largest + std::log(denominator);
        for (size_t j = 0; j < p.size(); ++j) {
          p[j] /= denominator;
          for (size_t e = 0; e < static_cast<size_t>(dh); ++e)
            t.out[query + e] += round(p[j]) * problem.v[key(first + static_cast<int64_t>(j)) + e];
        }
        double dot = 0;
        for (size_t e = 0; e < static_cast<size_t>(dh); ++e)
          dot += problem.dout[query + e] * round(t.out[query + e]);
        t.dot[stat] = dot;
        for (size_t j = 0; j < p.size(); ++j) {
          const size_t place = key(first + static_cast<int64_t>(j));
          const double ds = round(p[j] * (dp[j] - dot));
          for (size_t e = 0; e < static_cast<size_t>(dh); ++e) {
            t.dq[query + e] += ds * problem.k[place + e] * s.scale;
            t.dk[place + e] += ds * problem.q[query + e] * s.scale;
            t.dv[place + e] += round(p[j]) * problem.dout[query + e];
          }
        }
      }
    }
  }
  for (auto* results : {&t.out, &t.dq, &t.dk, &t.dv}) {
    for (double& x : *results) x = round(x);
  }
  return t;
}

namespace {

struct WindowOnDevice {
  WindowOnDevice(const WindowProblem& problem, const ptx::RunOptions& run_options)
      : shape(problem.shape),
        options(run_options),
        q({shape.batch, shape.positions, shape.heads, shape.head_dim}, 8),
        k({shape.batch, shape.past + shape.positions, shape.heads, shape.head_dim}, 16),
        v({shape.batch, shape.past + shape.positions, shape.heads, shape.head_dim}, 8),
        out({shape.batch, shape.positions, shape.heads, shape.head_dim}, 24),
        slopes(problem.slopes),
        lse(static_cast<size_t>(shape.batch * shape.heads * shape.positions), kNan) {
    q.put(problem.q);
    k.put(problem.k);
    v.put(problem.v);
  }

  static cuda::WindowStrides strides(const Strided<Bf16>& t) {
    return {t.stride(0), t.stride(1), t.stride(2)};
  }
  void launch(WindowResults& results, const std::string& file, const std::string& kernel,
              const ptx::Launch& launch) {
    const ptx::Outcome outcome =
        run_logged(file, kernel + "ILi" + std::to_string(shape.head_dim) + "E", launch, memory, options);
    results.reports += outcome.reports_text();
    results.counters += outcome.counters;
  }

  cuda::WindowShape shape;
  ptx::RunOptions options;
  ptx::GlobalMemory memory;
  Strided<Bf16> q, k, v, out;
  std::vector<float> slopes, lse;
};

}  // namespace

WindowResults run_window_forward(const WindowProblem& problem, const ptx::RunOptions& options) {
  WindowOnDevice device(problem, options);
  WindowResults results;
  cuda::WindowForwardParams params;
  params.shape = problem.shape;
  params.q = device.q.on_device(device.memory, "q", ptx::Access::read_only);
  params.k = device.k.on_device(device.memory, "k", ptx::Access::read_only);
  params.v = device.v.on_device(device.memory, "v", ptx::Access::read_only);
  params.slopes = device.memory.add("slopes", std::span<const float>(device.slopes), ptx::Access::read_only);
  params.out = device.out.on_device(device.memory, "out", ptx::Access::write_first);
  params.lse = device.memory.add("lse", std::span<float>(device.lse), ptx::Access::write_first);
  params.q_strides = WindowOnDevice::strides(device.q);
  params.k_strides = WindowOnDevice::strides(device.k);
  params.v_strides = WindowOnDevice::strides(device.v);
  params.out_strides = WindowOnDevice::strides(device.out);
  device.launch(results, "sliding_window_attention_forward", "window_forward_kernel",
                launch_of(cuda::window_forward_launch_shape(problem.shape), params));
  results.out = device.out.get();
  results.lse.assign(device.lse.begin(), device.lse.end());
  return results;
}

WindowResults run_window_backward(const WindowProblem& problem, const WindowResults& truth,
                                  const ptx::RunOptions& options) {
  WindowOnDevice device(problem, options);
  const cuda::WindowShape& shape = problem.shape;
  WindowResults results;
  ptx::GlobalMemory& memory = device.memory;
  Strided<Bf16> dout = device.q, dq = device.out, dk = device.k, dv = device.v;
  dout.put(problem.dout);
  device.out.put(std::vector<float>(truth.out.begin(), truth.out.end()));
  device.lse.assign(truth.lse.begin(), truth.lse.end());
  std::vector<float> dot(device.lse.size(), kNan);

  cuda::WindowDotParams products;
  products.shape = shape;
  products.out = device.out.on_device(memory, "out", ptx::Access::read_only);
  products.dout = dout.on_device(memory, "dout", ptx::Access::read_only);
  products.dot = memory.add("dot", std::span<float>(dot), ptx::Access::write_first);
  products.out_strides = WindowOnDevice::strides(device.out);
  products.dout_strides = WindowOnDevice::strides(dout);
  device.launch(results, "sliding_window_attention_backward", "window_dot_kernel",
                launch_of(cuda::window_dot_launch_shape(shape), products));

  cuda::WindowBackwardParams params;
  params.shape = shape;
  params.q = device.q.on_device(memory, "q", ptx::Access::read_only);
  params.k = device.k.on_device(memory, "k", ptx::Access::read_only);
  params.v = device.v.on_device(memory, "v", ptx::Access::read_only);
  params.dout = products.dout;
  params.slopes = memory.add("slopes", std::span<const float>(device.slopes), ptx::Access::read_only);
  params.lse = memory.add("lse", std::span<const float>(device.lse), ptx::Access::read_only);
  params.dot = products.dot;
  params.dq = dq.on_device(memory, "dq", ptx::Access::write_first);
  params.dk = dk.on_device(memory, "dk", ptx::Access::write_first);
  params.dv = dv.on_device(memory, "dv", ptx::Access::write_first);
  params.q_strides = WindowOnDevice::strides(device.q);
  params.k_strides = WindowOnDevice::strides(device.k);
  params.v_strides = WindowOnDevice::strides(device.v);
  params.dout_strides = WindowOnDevice::strides(dout);
  params.dq_strides = WindowOnDevice::strides(dq);
  params.dk_strides = WindowOnDevice::strides(dk);
  params.dv_strides = WindowOnDevice::strides(dv);
  device.launch(results, "sliding_window_attention_backward", "window_backward_queries_kernel",
                launch_of(cuda::window_backward_queries_launch_shape(shape), params));
  device.launch(results, "sliding_window_attention_backward", "window_backward_keys_kernel",
                launch_of(cuda::window_backward_keys_launch_shape(shape), params));
  results.dot.assign(dot.begin(), dot.end());
  results.dq = dq.get();
  results.dk = dk.get();
  results.dv = dv.get();
  return results;
}

}  // namespace gca::testing
