#include "kernels/sliding_window_attention/sliding_window_attention.h"

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/softmax.h>

#include <array>
#include <cmath>

#include "kernels/common/implementation.h"
#include "tests/kernels/attention_test_support.h"

namespace gca::kernels {
namespace {

struct Problem {
  at::Tensor q, k, v, slopes, dout;
  int64_t window = 0;
  double scale = 1;

  /// The same values in another type; exact when the values fit it.
  Problem in(at::ScalarType type) const {
    Problem other = *this;
    for (at::Tensor* tensor : {&other.q, &other.k, &other.v, &other.dout}) *tensor = tensor->to(type);
    other.slopes = slopes.to(type == at::kDouble ? at::kDouble : at::kFloat);
    return other;
  }
};

constexpr size_t kQuantities = 5;
const std::array<const char*, kQuantities> kQuantityNames = {"out", "lse", "dq", "dk", "dv"};
using Quantities = std::array<at::Tensor, kQuantities>;

Quantities compute(const Problem& p, Implementation version) {
  const ImplementationGuard guard(version);
  auto [out, lse] = sliding_window_attention_forward(p.q, p.k, p.v, p.slopes, p.window, p.scale);
  auto [dq, dk, dv] =
      sliding_window_attention_backward(p.dout, p.q, p.k, p.v, out, lse, p.slopes, p.window, p.scale);
  return {out, lse, dq, dk, dv};
}

/// Float32 within 1e-5; bf16 within twice (gradients three times) the error of the plain version in bf16.
void check_all_versions(const Problem& problem, const Quantities& truth, double least = 1e-30) {
  const Quantities plain_bf16 = compute(problem.in(at::kBFloat16), Implementation::reference);
  for (const auto version : {Implementation::reference, Implementation::fast, Implementation::emulated}) {
    const Quantities in_float = compute(problem.in(at::kFloat), version);
    const Quantities in_bf16 = compute(problem.in(at::kBFloat16), version);
    for (size_t i = 0; i < kQuantities; ++i) {
      CAPTURE(std::string(kQuantityNames[i]));
      CAPTURE(static_cast<int>(version));
      CHECK(relative_error(in_float[i], truth[i], least) <= 1e-5);
      const double plain = relative_error(plain_bf16[i], truth[i], least);
      CHECK(relative_error(in_bf16[i], truth[i], least) <= (i < 2 ? 2 : 3) * plain + 2e-3);
    }
  }
}

TEST_CASE("sliding-window attention: golden files") {
  for (const char* name : {"swa-dh64", "swa-odd", "swa-w1", "swa-wide"}) {
    CAPTURE(name);
    const GoldenFile golden(name);
    const Problem problem{golden.tensor("q"),    golden.tensor("k"),
                          golden.tensor("v"),    golden.tensor("slopes"),
                          golden.tensor("dout"), static_cast<int64_t>(golden.number("window")),
                          golden.number("scale")};
    const Quantities truth = {golden.tensor("out"), golden.tensor("lse"), golden.tensor("dq"),
                              golden.tensor("dk"), golden.tensor("dv")};
    const Quantities in_double = compute(problem.in(at::kDouble), Implementation::reference);
    for (size_t i = 0; i < kQuantities; ++i) {
      CAPTURE(std::string(kQuantityNames[i]));
      CHECK(relative_error(in_double[i], truth[i]) <= 1e-6);
    }
    check_all_versions(problem, truth);
  }
}

struct Shape {
  const char* what;
  int64_t batch, past, positions, heads, head_dim, window;
};

const Shape kShapes[] = {
    {"window of two tiles", 1, 0, 200, 2, 64, 128},
    {"window not a multiple of the tile, odd head size", 2, 0, 150, 3, 20, 70},
    {"past shorter than the window, off the grid", 1, 37, 130, 2, 16, 100},
    {"past longer than the window", 1, 150, 70, 2, 24, 40},
    {"one position after a full window", 2, 96, 1, 4, 64, 96},
    {"one position alone", 1, 0, 1, 2, 8, 4},
    {"sees only itself", 1, 5, 66, 2, 16, 0},
    {"window above the text", 1, 3, 67, 2, 32, 100000},
    {"last tile of three", 1, 0, 67, 1, 16, 10},
};

/// All operands lie inside NaN, and so are keys and values that no query may see.
Problem random_problem(const Shape& shape, at::ScalarType type) {
  at::manual_seed(11);
  Problem p;
  p.window = shape.window;
  p.scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  p.q = 2 * at::randn({shape.batch, shape.positions, shape.heads, shape.head_dim}, at::kDouble);
  p.dout = at::randn_like(p.q);
  p.k = at::randn({shape.batch, shape.past + shape.positions, shape.heads, shape.head_dim}, at::kDouble);
  p.v = at::randn_like(p.k);
  p.slopes = at::rand({shape.heads}, at::kDouble) * 0.2;
  p = p.in(type);
  const int64_t unseen = std::max<int64_t>(0, shape.past - shape.window);
  p.k.narrow(1, 0, unseen).fill_(kNan);
  p.v.narrow(1, 0, unseen).fill_(kNan);
  for (at::Tensor* tensor : {&p.q, &p.k, &p.v, &p.dout}) *tensor = guarded(*tensor);
  return p;
}

TEST_CASE("sliding-window attention: every version on odd shapes") {
  for (const Shape& shape : kShapes) {
    CAPTURE(std::string(shape.what));
    // Rounded to bf16, so that all types see the same numbers.
    const Problem problem = random_problem(shape, at::kBFloat16);
    check_all_versions(problem, compute(problem.in(at::kDouble), Implementation::reference), 0.1);
  }
}

TEST_CASE("sliding-window attention: scores composed of library calls give the same") {
  const Problem problem = random_problem(kShapes[2], at::kDouble);
  const int64_t past = kShapes[2].past, positions = kShapes[2].positions;
  const auto by_head = [](const at::Tensor& t) { return t.transpose(1, 2); };
  const at::Tensor distance =
      at::arange(past, past + positions).unsqueeze(1) - at::arange(past + positions).unsqueeze(0);
  at::Tensor score = at::matmul(by_head(problem.q), by_head(problem.k).transpose(-1, -2)) * problem.scale -
                     problem.slopes.view({-1, 1, 1}) * distance;
  score = score.masked_fill(distance.lt(0).logical_or(distance.gt(problem.window)),
                            -std::numeric_limits<double>::infinity());
  const at::Tensor truth = by_head(at::matmul(at::softmax(score, -1), by_head(problem.v)));
  const Quantities quantities = compute(problem, Implementation::reference);
  CHECK(relative_error(quantities[0], truth) <= 1e-12);
  CHECK(relative_error(quantities[1], at::logsumexp(score, -1)) <= 1e-12);
}

TEST_CASE("sliding-window attention: gradients against finite differences in double") {
  Problem problem = random_problem({"", 2, 5, 9, 2, 6, 4}, at::kDouble);
  problem.k.nan_to_num_(0.5);
  problem.v.nan_to_num_(0.5);
  const auto value = [&] {
    auto [out, lse] = sliding_window_attention_forward(problem.q, problem.k, problem.v, problem.slopes,
                                                       problem.window, problem.scale);
    return (out * problem.dout).sum().item<double>();
  };
  const Quantities analytic = compute(problem, Implementation::fast);
  const std::array<at::Tensor*, 3> inputs = {&problem.q, &problem.k, &problem.v};
  for (size_t i = 0; i < inputs.size(); ++i) {
    CAPTURE(kQuantityNames[i + 2]);
    for (int trial = 0; trial < 5; ++trial) {
      constexpr double step = 1e-5;
      const at::Tensor saved = *inputs[i];
      const at::Tensor direction = at::randn_like(saved);
      *inputs[i] = saved + step * direction;
      const double above = value();
      *inputs[i] = saved - step * direction;
      const double below = value();
      *inputs[i] = saved;
      const double expected = (analytic[i + 2] * direction).sum().item<double>();
      CHECK(std::abs((above - below) / (2 * step) - expected) <= 1e-7 * (1 + std::abs(expected)));
    }
  }
}

TEST_CASE("sliding-window attention: autograd gives the operator's own gradients") {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Problem problem = random_problem(kShapes[1], type);
    const Quantities expected = compute(problem, Implementation::fast);
    std::array<at::Tensor, 3> leaves = {problem.q.clone(), problem.k.clone(), problem.v.clone()};
    for (at::Tensor& leaf : leaves) leaf.requires_grad_();
    const at::Tensor out = sliding_window_attention(leaves[0], leaves[1], leaves[2], problem.slopes,
                                                    problem.window, problem.scale);
    CHECK(same_bits(out.detach(), expected[0]));
    out.backward(problem.dout);
    for (size_t i = 0; i < leaves.size(); ++i) CHECK(same_bits(leaves[i].grad(), expected[i + 2]));
  }
}

TEST_CASE("sliding-window attention: the same bits with any number of threads") {
  // One head and batch entry: more threads than heads take the order of work by query tile and by key tile.
  Shape shape = kShapes[2];
  for (const int64_t heads : {1, 2, 4}) {
    shape.heads = heads;
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const Problem problem = random_problem(shape, type);
      Quantities of_one_thread;
      for (const int threads : {1, 2, 3}) {
        CAPTURE(threads);
        const ThreadCountGuard guard(threads);
        const Quantities quantities = compute(problem, Implementation::fast);
        if (threads == 1) of_one_thread = quantities;
        for (size_t i = 0; i < kQuantities; ++i) {
          CAPTURE(std::string(kQuantityNames[i]));
          CHECK(same_bits(quantities[i], of_one_thread[i]));
        }
      }
    }
  }
}

TEST_CASE("sliding-window attention: wrong arguments are refused") {
  const Problem good = random_problem(kShapes[2], at::kFloat);
  const auto refused = [&](auto change) {
    Problem bad = good;
    change(bad);
    CHECK_THROWS_AS(sliding_window_attention(bad.q, bad.k, bad.v, bad.slopes, bad.window, bad.scale),
                    c10::Error);
  };
  refused([](Problem& p) { p.k = p.k.to(at::kBFloat16); });
  refused([](Problem& p) { p.v = p.v.narrow(1, 0, 20); });
  refused([](Problem& p) {
    p.k = p.k.narrow(1, 0, 20);
    p.v = p.v.narrow(1, 0, 20);
  });  // fewer keys than queries
  refused([](Problem& p) { p.q = p.q.to(at::kHalf); });
  refused([](Problem& p) { p.slopes = p.slopes.narrow(0, 0, 1); });
  refused([](Problem& p) { p.slopes = p.slopes.to(at::kDouble); });
  refused([](Problem& p) { p.window = -1; });
}

TEST_CASE("parallel_for runs several threads: the thread tests above test something") {
  const ThreadCountGuard guard(2);
  std::array<int, 2> thread_of{};
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) thread_of[static_cast<size_t>(i)] = at::get_thread_num();
  });
  CHECK(thread_of[0] != thread_of[1]);
}

}  // namespace
}  // namespace gca::kernels
