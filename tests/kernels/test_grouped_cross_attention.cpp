#include "kernels/grouped_cross_attention/grouped_cross_attention.h"

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/softmax.h>

#include <array>
#include <cmath>
#include <set>

#include "kernels/common/implementation.h"
#include "tests/kernels/attention_test_support.h"

namespace gca::kernels {
namespace {

struct Problem {
  at::Tensor q, k, v, idx, w, dout;
  ReadingLayout layout;
  double scale = 1;
  bool softmax_one = false;

  /// The same values in another type; exact when the values fit it.
  Problem in(at::ScalarType type) const {
    Problem other = *this;
    for (at::Tensor* tensor : {&other.q, &other.k, &other.v, &other.dout}) *tensor = tensor->to(type);
    other.w = w.to(type == at::kDouble ? at::kDouble : at::kFloat);
    return other;
  }
};

constexpr size_t kQuantities = 5;
const std::array<const char*, kQuantities> kQuantityNames = {"out", "dq", "dk", "dv", "dw"};
using Quantities = std::array<at::Tensor, kQuantities>;

Quantities compute(const Problem& p, Implementation version) {
  const ImplementationGuard guard(version);
  auto [out, lse] =
      grouped_cross_attention_forward(p.q, p.k, p.v, p.idx, p.w, p.layout, p.scale, p.softmax_one);
  auto [dq, dk, dv, dw] = grouped_cross_attention_backward(p.dout, p.q, p.k, p.v, p.idx, p.w, lse, p.layout,
                                                           p.scale, p.softmax_one);
  return {out, dq, dk, dv, dw};
}

/// Float32 within `float_tolerance`; bf16 within twice (gradients three times) the error of the plain version in bf16.
void check_all_versions(const Problem& problem, const Quantities& truth, double float_tolerance) {
  const Quantities plain_bf16 = compute(problem.in(at::kBFloat16), Implementation::reference);
  for (const auto version : {Implementation::reference, Implementation::fast, Implementation::emulated}) {
    const Quantities in_float = compute(problem.in(at::kFloat), version);
    const Quantities in_bf16 = compute(problem.in(at::kBFloat16), version);
    for (size_t i = 0; i < kQuantities; ++i) {
      CAPTURE(std::string(kQuantityNames[i]));
      CAPTURE(static_cast<int>(version));
      CHECK((in_float[i].scalar_type() == at::kFloat));
      CHECK(relative_error(in_float[i], truth[i]) <= float_tolerance);
      const double plain = relative_error(plain_bf16[i], truth[i]);
      CHECK(relative_error(in_bf16[i], truth[i]) <= (i == 0 ? 2 : 3) * plain + 2e-3);
    }
  }
}

TEST_CASE("grouped cross-attention: golden files") {
  for (const char* name : {"gca-small", "gca-hot", "gca-hot-one", "gca-k-large", "gca-large-scores",
                           "gca-negative-scores", "gca-s64"}) {
    CAPTURE(name);
    const GoldenFile golden(name);
    const at::Tensor q = golden.tensor("q");  // (B, C, S, H, dh)
    const auto as_positions = [](const at::Tensor& t) { return t.flatten(1, 2); };
    const Problem problem{as_positions(q),      golden.tensor("k"),     golden.tensor("v"),
                          golden.tensor("idx"), golden.tensor("w"),     as_positions(golden.tensor("dout")),
                          {q.size(2), 0},       golden.number("scale"), golden.number("softmax_one") != 0};
    const Quantities truth = {as_positions(golden.tensor("out")), as_positions(golden.tensor("dq")),
                              golden.tensor("dk"), golden.tensor("dv"), golden.tensor("dw")};
    const Quantities in_double = compute(problem.in(at::kDouble), Implementation::reference);
    for (size_t i = 0; i < kQuantities; ++i) {
      CAPTURE(std::string(kQuantityNames[i]));
      CHECK(relative_error(in_double[i], truth[i]) <= 1e-6);
    }
    if (std::string(name) == "gca-large-scores") {
      // bf16 cannot hold scores of several hundred; the plain version bears the rounding of lse.
      for (const auto version : {Implementation::reference, Implementation::fast, Implementation::emulated}) {
        const Quantities in_float = compute(problem, version);
        for (size_t i = 0; i < kQuantities; ++i) {
          CAPTURE(std::string(kQuantityNames[i]));
          CAPTURE(static_cast<int>(version));
          CHECK(relative_error(in_float[i], truth[i]) <=
                (version == Implementation::reference ? 1e-4 : 1e-5));
        }
      }
    } else {
      check_all_versions(problem, truth, 1e-5);
    }
  }
}

struct Shape {
  const char* what;
  int64_t batch, positions, heads, head_dim;
  int64_t chunks, keys, kv_heads, slots;
  ReadingLayout layout;
  bool softmax_one;
};

const Shape kShapes[] = {
    {"paper's chunk", 1, 192, 2, 64, 5, 63, 2, 3, {64, 0}, true},
    {"shared key/value heads, 17 keys", 2, 40, 6, 24, 4, 17, 2, 2, {16, 0}, true},
    {"65 positions a chunk, begins and ends inside one", 1, 150, 4, 20, 6, 64, 1, 4, {65, 30}, false},
    {"one position", 2, 1, 4, 64, 7, 63, 2, 8, {64, 17}, true},
    {"three positions across a chunk's border", 1, 3, 2, 40, 7, 63, 1, 2, {64, 62}, false},
    {"many queries a row", 1, 70, 8, 16, 3, 31, 1, 2, {64, 0}, true},
    {"one key, one position a chunk", 1, 6, 2, 8, 3, 1, 2, 2, {1, 0}, true},
};

/// A fifth of the slots empty, the rest random chunks; the last chunk is read by nobody, its keys and values
/// are NaN. All operands lie inside NaN.
Problem random_problem(const Shape& shape, at::ScalarType type) {
  at::manual_seed(7);
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const int64_t rows =
      (shape.layout.first_offset + shape.positions + shape.layout.chunk_size - 1) / shape.layout.chunk_size;
  Problem p;
  p.layout = shape.layout;
  p.softmax_one = shape.softmax_one;
  p.scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  p.q = 2 * at::randn({shape.batch, shape.positions, shape.heads, shape.head_dim}, options);
  p.dout = at::randn_like(p.q);
  p.k = at::randn({shape.batch, shape.chunks, shape.keys, shape.kv_heads, shape.head_dim}, options);
  p.v = at::randn_like(p.k);
  p.k.select(1, shape.chunks - 1).fill_(kNan);
  p.v.select(1, shape.chunks - 1).fill_(kNan);
  p.idx = at::randint(0, shape.chunks - 1, {shape.batch, rows, shape.slots}, at::kInt);
  const at::Tensor empty = at::rand({shape.batch, rows, shape.slots}) < 0.2;
  p.idx.masked_fill_(empty, -1);
  p.w = at::rand({shape.batch, rows, shape.slots}, options);
  p.w.masked_fill_(empty, kNan);  // ignored where idx is -1
  p = p.in(type);
  for (at::Tensor* tensor : {&p.q, &p.k, &p.v, &p.w, &p.dout}) *tensor = guarded(*tensor);
  return p;
}

TEST_CASE("grouped cross-attention: every version on odd shapes") {
  for (const Shape& shape : kShapes) {
    CAPTURE(std::string(shape.what));
    // Rounded to bf16, so that all types see the same numbers.
    const Problem problem = random_problem(shape, at::kBFloat16);
    const Quantities truth = compute(problem.in(at::kDouble), Implementation::reference);
    check_all_versions(problem, truth, 1e-5);
    const at::Tensor dk_of_unread = truth[2].select(1, shape.chunks - 1);
    CHECK(dk_of_unread.abs().max().item<double>() == 0);
  }
}

TEST_CASE("grouped cross-attention: nothing to read gives zeros") {
  for (const auto version : {Implementation::reference, Implementation::fast, Implementation::emulated}) {
    for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
      for (const Shape& shape : {kShapes[0], kShapes[3]}) {
        Problem problem = random_problem(shape, type);
        problem.idx.fill_(-1);
        problem.k.fill_(kNan);
        problem.v.fill_(kNan);
        for (const at::Tensor& quantity : compute(problem, version)) CHECK(quantity.eq(0).all().item<bool>());
      }
    }
  }
}

TEST_CASE("grouped cross-attention: one chunk read by itself is full attention inside the chunk") {
  constexpr int64_t chunks = 3, chunk_size = 20, heads = 2, head_dim = 16;
  at::manual_seed(3);
  const at::Tensor q = at::randn({2, chunks * chunk_size, heads, head_dim}, at::kDouble);
  const at::Tensor k = at::randn({2, chunks, chunk_size, heads, head_dim}, at::kDouble),
                   v = at::randn_like(k);
  const at::Tensor idx = at::arange(chunks, at::kInt).view({1, chunks, 1}).expand({2, chunks, 1});
  // (B, C, H, S, S) scores, composed of library calls.
  const auto by_head = [&](const at::Tensor& t) {
    return t.reshape({2, chunks, chunk_size, heads, head_dim}).transpose(2, 3);
  };
  const at::Tensor p = at::softmax(at::matmul(by_head(q), by_head(k).transpose(-1, -2)) * 0.25, -1);
  const at::Tensor truth = at::matmul(p, by_head(v)).transpose(2, 3).reshape(q.sizes());
  for (const auto version : {Implementation::reference, Implementation::fast, Implementation::emulated}) {
    const ImplementationGuard guard(version);
    for (const auto type : {at::kFloat, at::kDouble}) {
      const at::Tensor out =
          grouped_cross_attention(q.to(type), k.to(type), v.to(type), idx, at::ones({2, chunks, 1}, type),
                                  {chunk_size, 0}, 0.25, false);
      CHECK(relative_error(out, truth) <= (type == at::kDouble ? 1e-12 : 1e-5));
    }
  }
}

TEST_CASE("grouped cross-attention: gradients against finite differences in double") {
  for (const bool softmax_one : {false, true}) {
    Shape shape{"", 2, 11, 4, 6, 4, 5, 2, 3, {4, 3}, softmax_one};
    Problem problem = random_problem(shape, at::kDouble);
    const auto value = [&] {
      auto [out, lse] =
          grouped_cross_attention_forward(problem.q, problem.k, problem.v, problem.idx, problem.w,
                                          problem.layout, problem.scale, problem.softmax_one);
      return (out * problem.dout).sum().item<double>();
    };
    const Quantities analytic = compute(problem, Implementation::fast);
    const std::array<at::Tensor*, 4> inputs = {&problem.q, &problem.k, &problem.v, &problem.w};
    for (size_t i = 0; i < inputs.size(); ++i) {
      CAPTURE(kQuantityNames[i + 1]);
      for (int trial = 0; trial < 5; ++trial) {
        constexpr double step = 1e-5;
        const at::Tensor saved = *inputs[i];
        const at::Tensor direction = at::randn_like(saved);
        *inputs[i] = saved + step * direction;
        const double above = value();
        *inputs[i] = saved - step * direction;
        const double below = value();
        *inputs[i] = saved;
        const double expected = (analytic[i + 1] * direction).sum().item<double>();
        CHECK(std::abs((above - below) / (2 * step) - expected) <= 1e-7 * (1 + std::abs(expected)));
      }
    }
  }
}

TEST_CASE("grouped cross-attention: autograd gives the operator's own gradients, none for the indices") {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Problem problem = random_problem(kShapes[1], type);
    const Quantities expected = compute(problem, Implementation::fast);
    std::array<at::Tensor, 4> leaves = {problem.q.clone(), problem.k.clone(), problem.v.clone(),
                                        problem.w.clone()};
    for (at::Tensor& leaf : leaves) leaf.requires_grad_();
    const at::Tensor out = grouped_cross_attention(leaves[0], leaves[1], leaves[2], problem.idx, leaves[3],
                                                   problem.layout, problem.scale, problem.softmax_one);
    CHECK(same_bits(out.detach(), expected[0]));
    out.backward(problem.dout);
    for (size_t i = 0; i < leaves.size(); ++i) CHECK(same_bits(leaves[i].grad(), expected[i + 1]));
  }
}

TEST_CASE("grouped cross-attention: the same bits with any number of threads") {
  // One key/value head and batch entry: more threads than heads take the order of work by row and by chunk.
  Shape shape = kShapes[2];
  for (const int64_t kv_heads : {1, 2, 4}) {
    shape.kv_heads = kv_heads;
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

TEST_CASE("grouped cross-attention: wrong arguments are refused") {
  const Problem good = random_problem(kShapes[1], at::kFloat);
  const auto refused = [&](auto change) {
    Problem bad = good;
    change(bad);
    CHECK_THROWS_AS(
        grouped_cross_attention(bad.q, bad.k, bad.v, bad.idx, bad.w, bad.layout, bad.scale, bad.softmax_one),
        c10::Error);
  };
  refused([](Problem& p) { p.k = p.k.to(at::kBFloat16); });
  refused([](Problem& p) { p.v = p.v.narrow(2, 0, 3); });
  refused([](Problem& p) { p.q = p.q.narrow(2, 0, 5); });  // 2 key/value heads do not divide 5
  refused([](Problem& p) { p.q = p.q.to(at::kHalf); });
  refused([](Problem& p) { p.idx = p.idx.to(at::kLong); });
  refused([](Problem& p) { p.idx = p.idx.narrow(1, 0, 1); });
  refused([](Problem& p) { p.w = p.w.to(at::kDouble); });
  refused([](Problem& p) { p.layout.first_offset = p.layout.chunk_size; });
  refused([](Problem& p) { p.idx = at::full_like(p.idx, 4); });  // chunks are 0 to 3
  refused([](Problem& p) { p.idx = at::full_like(p.idx, -2); });
}

}  // namespace
}  // namespace gca::kernels
