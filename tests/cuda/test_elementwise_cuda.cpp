// The memory-bound CUDA kernels on the PTX machine against their formulas in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "kernels/adamw/adamw_cuda.h"
#include "kernels/common/cuda/sum_rows_cuda.h"
#include "kernels/embedding/embedding_gradient_cuda.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy_cuda.h"
#include "kernels/rms_norm/rms_norm_cuda.h"
#include "kernels/rotary/rotary_cuda.h"
#include "kernels/swiglu/swiglu_cuda.h"
#include "tests/cuda/numbers.h"
#include "tests/cuda/on_machine.h"

using namespace gca;
using namespace gca::testing;
using cuda::Bf16;

namespace {

std::vector<float> floats(size_t size, uint64_t seed, float scale = 1) {
  RandomNumbers random(seed);
  std::vector<float> values(size);
  for (float& x : values) x = random.normal(scale);
  return values;
}
std::vector<Bf16> halves(const std::vector<float>& values) {
  std::vector<Bf16> result;
  for (const float x : values) result.push_back(to_bf16(x));
  return result;
}
template <class T>
std::vector<double> doubles(const std::vector<T>& values) {
  std::vector<double> result;
  for (const T x : values) result.push_back(to_float(x));
  return result;
}
/// Within a rounding to bfloat16 (and of the float arithmetic before it).
bool is_bf16_of(double got, double exact) {
  return std::fabs(got - exact) <= std::fabs(exact) * 0x1.02p-8 + 1e-6;
}

}  // namespace

TEST_CASE("RMSNorm, plain and after a residual branch, and its gradients") {
  for (const int d : {32, 260, 768, 1024, 2048}) {
    for (const bool residual : {false, true}) {
      CAPTURE(d);
      const size_t rows = 37, columns = static_cast<size_t>(d);
      std::vector<float> x = floats(rows * columns, 1, 3), weight = floats(columns, 2);
      const std::vector<Bf16> addend = halves(floats(x.size(), 3)), dy = halves(floats(x.size(), 4));
      std::vector<Bf16> y(x.size());
      std::vector<float> sum(x.size(), kNan), inverse_rms(rows, kNan), dx(x.size(), kNan),
          dweight(columns, kNan);
      const int variant = cuda::rms_norm_vectors(d);

      const auto run = [&] {
        OnMachine machine;
        cuda::RmsNormParams p;
        p.x = machine.in("x", x);
        if (residual) {
          p.addend = machine.in("addend", addend);
          p.sum = machine.out("sum", sum);
        }
        p.weight = machine.in("weight", weight);
        p.y = machine.out("y", y);
        p.inverse_rms = machine.out("inverse_rms", inverse_rms);
        p.rows = static_cast<int64_t>(rows);
        p.d = d;
        p.eps = 1e-5F;
        machine.launch("rms_norm", "rms_norm_kernelILi" + std::to_string(variant) + "EN",
                       cuda::rms_norm_launch_shape(p.rows), p);

        cuda::RmsNormBackwardParams b;
        b.dy = machine.in("dy", dy);
        b.x = residual ? p.sum : p.x;
        b.weight = p.weight;
        b.inverse_rms = p.inverse_rms;
        b.dx = machine.out("dx", dx);
        std::vector<float> partial(static_cast<size_t>(cuda::rms_norm_partials(p.rows)) * columns, kNan);
        b.partial = machine.out("partial", partial);
        b.rows = p.rows;
        b.d = d;
        machine.launch("rms_norm", "rms_norm_backward_kernelILi" + std::to_string(variant) + "EN",
                       cuda::rms_norm_backward_launch_shape(b.rows, d), b);
        const cuda::SumRowsParams s{b.partial, machine.out("dweight", dweight),
                                    cuda::rms_norm_partials(p.rows), d};
        machine.launch("sum_rows", "sum_rows_kernel", cuda::sum_rows_launch_shape(d), s);
        return machine.reports;
      };
      CHECK(run() == "");

      std::vector<double> expected_dx, expected_dweight(columns, 0);
      for (size_t row = 0; row < rows; ++row) {
        std::vector<double> n(columns), g(columns);
        double squares = 0, projection = 0;
        for (size_t e = 0; e < columns; ++e) {
          n[e] = double{x[row * columns + e]} + (residual ? to_float(addend[row * columns + e]) : 0);
          if (residual) CHECK(sum[row * columns + e] == static_cast<float>(n[e]));
          squares += n[e] * n[e];
        }
        const double r = 1 / std::sqrt(squares / d + 1e-5);
        CHECK(std::fabs(inverse_rms[row] / r - 1) < 1e-6);
        for (size_t e = 0; e < columns; ++e) {
          n[e] *= r;
          CHECK(is_bf16_of(to_float(y[row * columns + e]), weight[e] * n[e]));
          g[e] = double{to_float(dy[row * columns + e])} * weight[e];
          projection += g[e] * n[e] / d;
          expected_dweight[e] += to_float(dy[row * columns + e]) * n[e];
        }
        for (size_t e = 0; e < columns; ++e) expected_dx.push_back(r * (g[e] - n[e] * projection));
      }
      CHECK(largest_difference(doubles(dx), expected_dx) < 2e-6);
      CHECK(largest_difference(doubles(dweight), expected_dweight) < 1e-4);
      if (d == 260 && residual) CHECK(unmissed_syncs(run) == "");
    }
  }
}

TEST_CASE("SwiGLU and its gradients") {
  const std::vector<float> gate_values = floats(1028, 1, 4);
  const std::vector<Bf16> gate = halves(gate_values), up = halves(floats(1028, 2, 2)),
                          dy = halves(floats(1028, 3));
  std::vector<Bf16> y(1028), dgate(1028), dup(1028);
  OnMachine machine;
  const auto shape = cuda::swiglu_launch_shape(1028);
  const cuda::SwigluParams p{machine.in("gate", gate), machine.in("up", up), machine.out("y", y), 1028};
  machine.launch("swiglu", "swiglu_kernel", shape, p);
  const cuda::SwigluBackwardParams b{machine.in("dy", dy),    p.gate, p.up, machine.out("dgate", dgate),
                                     machine.out("dup", dup), 1028};
  machine.launch("swiglu", "swiglu_backward_kernel", shape, b);
  CHECK(machine.reports == "");
  for (size_t i = 0; i < 1028; ++i) {
    const double g = to_float(gate[i]), u = to_float(up[i]), d = to_float(dy[i]), s = 1 / (1 + std::exp(-g));
    CHECK(is_bf16_of(to_float(y[i]), g * s * u));
    CHECK(is_bf16_of(to_float(dgate[i]), d * u * s * (1 + g * (1 - s))));
    CHECK(is_bf16_of(to_float(dup[i]), d * g * s));
  }
}

TEST_CASE("rotary turns pairs, and back") {
  constexpr int N = 2, S = 5, H = 3, dh = 64, half = dh / 2;
  constexpr size_t kSize = N * S * H * dh;
  std::vector<float> cosine, sine;
  for (int s = 0; s < S; ++s) {
    for (int e = 0; e < half; ++e) {
      const double angle = s * std::pow(10000.0, -static_cast<double>(e) / half);
      cosine.push_back(static_cast<float>(std::cos(angle)));
      sine.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  const std::vector<Bf16> x = halves(floats(kSize, 1));
  std::vector<Bf16> y(x.size()), back(x.size());
  OnMachine machine;
  cuda::RotaryParams p{machine.in("x", x),
                       machine.out("y", y),
                       machine.in("cosine", cosine),
                       machine.in("sine", sine),
                       N * S * H,
                       S,
                       H,
                       dh,
                       1};
  machine.launch("rotary", "rotary_kernel", cuda::rotary_launch_shape(p.rows, dh), p);
  cuda::RotaryParams b = p;
  b.x = p.y;
  b.y = machine.out("back", back);
  b.direction = -1;
  machine.launch("rotary", "rotary_kernel", cuda::rotary_launch_shape(p.rows, dh), b);
  CHECK(machine.reports == "");
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t e = i % dh, s = i / dh / H % S, pair = e < half ? i + half : i - half,
                 angle = s * half + e % half;
    const double turned = to_float(x[i]) * double{cosine[angle]} +
                          (e < half ? -1 : 1) * to_float(x[pair]) * double{sine[angle]};
    CHECK(is_bf16_of(to_float(y[i]), turned));
    CHECK(std::fabs(to_float(back[i]) - to_float(x[i])) < 0.02);
  }
}

TEST_CASE("the embedding's gradient: rows of one token summed in order, to what is there or to nothing") {
  const int64_t N = 150, V = 20, d = 36;
  std::vector<int64_t> tokens(static_cast<size_t>(N));
  RandomNumbers random(8);
  for (auto& t : tokens) t = random.below(3) == 0 ? 7 : random.below(V - 2);  // tokens 18 and 19 never occur
  std::vector<int64_t> order(tokens.size()), starts(static_cast<size_t>(V + 1), 0);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return tokens[static_cast<size_t>(a)] < tokens[static_cast<size_t>(b)];
  });
  for (const int64_t t : tokens) {
    for (int64_t v = t + 1; v <= V; ++v) ++starts[static_cast<size_t>(v)];
  }
  const std::vector<float> dh = floats(static_cast<size_t>(N * d), 9);
  for (const int accumulate : {0, 1}) {
    std::vector<float> gradient = accumulate != 0 ? floats(static_cast<size_t>(V * d), 10)
                                                  : std::vector<float>(static_cast<size_t>(V * d), kNan);
    std::vector<float> expected = accumulate != 0 ? gradient : std::vector<float>(gradient.size(), 0);
    for (size_t i = 0; i < tokens.size(); ++i) {
      for (size_t e = 0; e < d; ++e) expected[static_cast<size_t>(tokens[i]) * d + e] += dh[i * d + e];
    }
    OnMachine machine;
    const cuda::EmbeddingGradientParams p{machine.in("dh", dh),
                                          machine.in("order", order),
                                          machine.in("starts", starts),
                                          machine.in_out("gradient", gradient),
                                          V,
                                          d,
                                          accumulate};
    machine.launch("embedding_gradient", "embedding_gradient_kernel",
                   cuda::embedding_gradient_launch_shape(V, d), p);
    CHECK(machine.reports == "");
    CHECK(gradient == expected);  // the very order of the loop above
  }
}

TEST_CASE("cross-entropy over blocks of columns: statistics and gradient") {
  const int64_t rows = 9, V = 700, stride = 704;
  std::vector<float> z(static_cast<size_t>(rows * stride), kNan);
  RandomNumbers random(11);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t v = 0; v < V; ++v) z[static_cast<size_t>(i * stride + v)] = random.normal(i == 3 ? 200 : 5);
  }
  std::vector<int64_t> targets = {5, 0, 699, 300, -1, 299, 301, 650, 12};
  std::vector<float> largest(static_cast<size_t>(rows), kNan), sum = largest, target_logit = largest;
  std::vector<Bf16> dz(static_cast<size_t>(rows * V));
  const auto run = [&] {
    OnMachine machine;
    cuda::CrossEntropyStatisticsParams s;
    const float* logits = machine.in("z", z);
    s.targets = machine.in("targets", targets);
    s.largest = machine.out("largest", largest);
    s.sum = machine.out("sum", sum);
    s.target_logit = machine.out("target_logit", target_logit);
    s.rows = rows;
    s.stride = stride;
    std::string reports;
    std::vector<std::vector<Bf16>> blocks;
    for (int64_t first = 0; first < V; first += 300) {
      s.z = logits + first;
      s.first_column = static_cast<int32_t>(first);
      s.columns = static_cast<int32_t>(std::min<int64_t>(300, V - first));
      machine.launch("linear_cross_entropy", "cross_entropy_statistics_kernel",
                     cuda::cross_entropy_launch_shape(rows), s);
    }
    for (int64_t first = 0; first < V; first += 300) {
      const auto columns = std::min<int64_t>(300, V - first);
      std::vector<Bf16> block(static_cast<size_t>(rows * columns));
      cuda::CrossEntropyGradientParams g{logits + first,
                                         s.targets,
                                         s.largest,
                                         s.sum,
                                         machine.out("dz", block),
                                         rows,
                                         stride,
                                         static_cast<int32_t>(columns),
                                         static_cast<int32_t>(first),
                                         0.125F};
      machine.launch("linear_cross_entropy", "cross_entropy_gradient_kernel",
                     cuda::cross_entropy_launch_shape(rows), g);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t v = 0; v < columns; ++v)
          dz[static_cast<size_t>(i * V + first + v)] = block[static_cast<size_t>(i * columns + v)];
      }
    }
    return machine.reports;
  };
  CHECK(run() == "");
  for (int64_t i = 0; i < rows; ++i) {
    const float* row = z.data() + i * stride;
    const double most = *std::max_element(row, row + V);
    double denominator = 0;
    for (int64_t v = 0; v < V; ++v) denominator += std::exp(row[v] - most);
    const auto r = static_cast<size_t>(i);
    CHECK(std::fabs(largest[r] + std::log(double{sum[r]}) - (most + std::log(denominator))) <
          1e-5 * (1 + std::fabs(most)));
    if (targets[r] >= 0) CHECK(target_logit[r] == row[targets[r]]);
    for (int64_t v = 0; v < V; ++v) {
      const double expected =
          targets[r] < 0 ? 0 : 0.125 * (std::exp(row[v] - most) / denominator - (v == targets[r] ? 1 : 0));
      CHECK(is_bf16_of(to_float(dz[static_cast<size_t>(i * V + v)]), expected));
    }
  }
  CHECK(unmissed_syncs(run) == "");
}

TEST_CASE("AdamW: one step, its bfloat16 copy, and sizes that are not multiples of four") {
  for (const size_t size : {1025, 3}) {
    const std::vector<float> gradient = floats(size, 1), first = floats(size, 2, 0.1F), w0 = floats(size, 4);
    std::vector<float> second = floats(size, 3, 0.1F);
    for (float& x : second) x = x * x;
    std::vector<float> w = w0, m = first, v = second;
    std::vector<Bf16> copy(size);
    OnMachine machine;
    cuda::AdamWParams p;
    p.weight = machine.in_out("weight", w);
    p.gradient = machine.in("gradient", gradient);
    p.first_moment = machine.in_out("m", m);
    p.second_moment = machine.in_out("v", v);
    p.copy = machine.out("copy", copy);
    p.size = static_cast<int64_t>(size);
    p.beta1 = 0.9F;
    p.beta2 = 0.95F;
    p.epsilon = 1e-6F;
    p.gradient_scale = 0.5F;
    p.step_size = 1e-3F / (1 - 0.9F * 0.9F * 0.9F);
    p.inverse_correction2 = 1 / (1 - 0.95F * 0.95F * 0.95F);
    p.decay = 1e-6F;
    machine.launch("adamw", "adamw_kernel", cuda::adamw_launch_shape(p.size), p);
    CHECK(machine.reports == "");
    for (size_t i = 0; i < size; ++i) {
      const double g = 0.5 * gradient[i], mi = 0.9 * first[i] + 0.1 * g, vi = 0.95 * second[i] + 0.05 * g * g;
      const double wi = w0[i] - (p.step_size * mi / (std::sqrt(vi * p.inverse_correction2) + 1e-6) +
                                 p.decay * double{w0[i]});
      CHECK(std::fabs(m[i] - mi) < 1e-6);
      CHECK(std::fabs(v[i] - vi) < 1e-6);
      CHECK(std::fabs(w[i] - wi) < 2e-6);
      CHECK(to_float(copy[i]) == to_float(to_bf16(w[i])));
    }
  }
}

TEST_CASE("the norm of gradients, in double") {
  const size_t size = 2 * cuda::kNormBlock + 1237;
  const std::vector<float> x = floats(size, 1);
  const auto blocks = static_cast<size_t>(cuda::ceil_div(static_cast<int64_t>(size), cuda::kNormBlock));
  std::vector<double> parts(blocks), sum(1);
  const auto run = [&] {
    OnMachine machine;
    const cuda::SumOfSquaresParams p{machine.in("x", x), machine.out("parts", parts),
                                     static_cast<int64_t>(size)};
    machine.launch("adamw", "sum_of_squares_kernel", cuda::sum_of_squares_launch_shape(p.size), p);
    const cuda::SumPartsParams s{p.parts, machine.out("sum", sum), static_cast<int64_t>(blocks)};
    cuda::LaunchShape shape;
    shape.threads = 256;
    machine.launch("adamw", "sum_parts_kernel", shape, s);
    return machine.reports;
  };
  CHECK(run() == "");
  double expected = 0;
  for (const float v : x) expected += double{v} * v;
  CHECK(sum[0] == doctest::Approx(expected).epsilon(1e-13));
  CHECK(unmissed_syncs(run) == "");
}
