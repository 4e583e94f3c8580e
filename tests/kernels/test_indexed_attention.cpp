#include "kernels/indexed_attention/indexed_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <limits>

#include "kernels/common/implementation.h"
#include "tests/kernels/attention_test_support.h"

namespace gca::kernels {
namespace {

struct Problem {
  at::Tensor q, slopes;
  CachedRows cached;
  IndexedRows rows;
  double scale = 1;

  Problem in(at::ScalarType type) const {
    Problem other = *this;
    other.q = q.to(type);
    if (!cached.key_scales.defined()) {
      other.cached.keys = cached.keys.to(type);
      other.cached.values = cached.values.to(type);
    }
    other.slopes = slopes.to(type == at::kDouble ? at::kDouble : at::kFloat);
    return other;
  }

  /// The same with rows in int8: of each row and head 127 steps are its largest element.
  Problem quantised() const {
    Problem other = *this;
    const auto quantise = [](at::Tensor& tensor, at::Tensor& scales) {
      scales = (at::amax(tensor.abs(), -1) / 127).to(at::kFloat);
      tensor = (tensor / scales.unsqueeze(-1)).round().to(at::kChar);
    };
    quantise(other.cached.keys, other.cached.key_scales);
    quantise(other.cached.values, other.cached.value_scales);
    return other;
  }

  /// The same with the rows of a head side by side.
  Problem by_head() const {
    Problem other = *this;
    CachedRows& moved = other.cached;
    for (at::Tensor* tensor : {&moved.keys, &moved.values, &moved.key_scales, &moved.value_scales})
      *tensor = tensor->transpose(0, 1).contiguous().transpose(0, 1);
    return other;
  }

  /// What the rows stand for, in double.
  static at::Tensor restored(const at::Tensor& rows, const at::Tensor& scales) {
    return scales.defined() ? (rows.to(at::kFloat) * scales.unsqueeze(-1)).to(at::kDouble) : rows;
  }
};

/// Every third row before the tail for the first key/value head, another share for each of the others.
at::Tensor some_rows(int64_t kv_heads, int64_t tail_begin) {
  at::Tensor list = at::full({kv_heads, tail_begin}, -1, at::kInt);
  for (int64_t h = 0; h < kv_heads; ++h) {
    int64_t count = 0;
    for (int64_t row = h; row < tail_begin; ++row)
      if (row % (h + 3) != 1) list[h][count++] = row;
  }
  return list;
}

Problem make_problem(int64_t n, int64_t rows, int64_t heads, int64_t kv_heads, int64_t tail_begin,
                     double slope) {
  at::manual_seed(static_cast<uint64_t>(n * 1000 + rows));
  const int64_t dh = 24;
  Problem problem;
  problem.q = at::randn({n, heads, dh}, at::kDouble);
  problem.cached.keys = at::randn({rows, kv_heads, dh}, at::kDouble);
  problem.cached.values = at::randn({rows, kv_heads, dh}, at::kDouble);
  problem.slopes = at::arange(heads, at::kDouble) * slope;
  problem.rows.tail_begin = tail_begin;
  if (tail_begin > 0) problem.rows.list = some_rows(kv_heads, tail_begin);
  problem.scale = 1 / std::sqrt(static_cast<double>(dh));
  return problem;
}

/// Attention with a mask, in double, one head after the other.
IndexedAttention masked(const Problem& p) {
  const at::Tensor keys = Problem::restored(p.cached.keys, p.cached.key_scales);
  const at::Tensor values = Problem::restored(p.cached.values, p.cached.value_scales);
  const int64_t n = p.q.size(0), heads = p.q.size(1), rows = keys.size(0);
  const int64_t group = heads / keys.size(1);
  const int64_t listed = p.rows.list.defined() ? p.rows.list.size(1) : 0;
  IndexedAttention result{at::zeros_like(p.q), at::zeros({n, heads}, at::kDouble),
                          at::zeros({heads, listed + rows - p.rows.tail_begin}, at::kDouble)};
  for (int64_t a = 0; a < heads; ++a) {
    const int64_t h = a / group;
    at::Tensor seen = at::zeros({n, rows}, at::kBool);
    std::vector<int64_t> column(static_cast<size_t>(rows), -1);
    for (int64_t j = 0; j < listed; ++j)
      if (const int64_t row = p.rows.list[h][j].item<int32_t>(); row >= 0)
        column[static_cast<size_t>(row)] = j;
    for (int64_t row = p.rows.tail_begin; row < rows; ++row)
      column[static_cast<size_t>(row)] = listed + row - p.rows.tail_begin;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t row = 0; row <= rows - n + i; ++row) seen[i][row] = column[static_cast<size_t>(row)] >= 0;
    const at::Tensor distance =
        (at::arange(n, at::kDouble) + (rows - n)).unsqueeze(1) - at::arange(rows, at::kDouble);
    at::Tensor score = at::matmul(p.q.select(1, a), keys.select(1, h).t()) * p.scale - p.slopes[a] * distance;
    score = score.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
    result.lse.select(1, a).copy_(at::logsumexp(score, -1));
    const at::Tensor probability = at::softmax(score, -1);
    result.out.select(1, a).copy_(at::matmul(probability, values.select(1, h)));
    const at::Tensor sums = probability.sum(0);
    for (int64_t row = 0; row < rows; ++row)
      if (column[static_cast<size_t>(row)] >= 0)
        result.column_sums[a][column[static_cast<size_t>(row)]] = sums[row];
  }
  return result;
}

IndexedAttention compute(const Problem& p, Implementation version, bool with_sums = true) {
  const ImplementationGuard guard(version);
  return indexed_attention(p.q, p.cached, p.rows, p.slopes, p.scale, with_sums);
}

TEST_CASE("indexed attention: a mask and a softmax give the same") {
  for (const auto& [n, rows, heads, kv_heads, tail] :
       std::vector<std::array<int64_t, 5>>{{1, 1, 2, 1, 0},
                                           {1, 40, 4, 2, 0},
                                           {1, 1300, 6, 2, 0},
                                           {1, 1300, 6, 2, 900},
                                           {1, 50, 3, 1, 49},
                                           {7, 90, 4, 4, 60},
                                           {20, 20, 4, 2, 0},
                                           {3, 700, 4, 1, 650}}) {
    for (const double slope : {0.0, 0.05}) {
      const Problem exact = make_problem(n, rows, heads, kv_heads, tail, slope);
      for (const Problem& problem : {exact, exact.quantised(), exact.quantised().by_head()}) {
        const std::string what = std::to_string(n) + " of " + std::to_string(rows) + " in " +
                                 c10::toString(problem.cached.keys.scalar_type());
        CAPTURE(what);
        const IndexedAttention truth = masked(problem);
        const auto check = [&](const IndexedAttention& found, double bound) {
          CHECK(relative_error(found.out, truth.out) <= bound);
          CHECK(relative_error(found.column_sums, truth.column_sums) <= bound);
          CHECK((found.lse.to(at::kDouble) - truth.lse).abs().max().item<double>() <= bound);
        };
        check(compute(problem, Implementation::reference), 1e-12);
        check(compute(problem.in(at::kFloat), Implementation::reference), 1e-5);
        check(compute(problem.in(at::kFloat), Implementation::fast), 1e-5);
        const IndexedAttention plain = compute(problem.in(at::kBFloat16), Implementation::reference);
        check(compute(problem.in(at::kBFloat16), Implementation::fast),
              2 * std::max(relative_error(plain.out, truth.out),
                           relative_error(plain.column_sums, truth.column_sums)) +
                  2e-3);
      }
    }
  }
}

TEST_CASE("indexed attention: int8 rows change scores and values by half a step at most") {
  const Problem exact = make_problem(3, 700, 4, 2, 0, 0.0);
  const Problem rounded = exact.quantised();
  // |s - s'| <= scale sum_e |q_e| step / 2 = d for every key, so that a probability changes by a factor within
  // exp(2 d), and each value by half a step.
  const double key_step = rounded.cached.key_scales.max().item<double>();
  const double value_step = rounded.cached.value_scales.max().item<double>();
  const double d = exact.scale * exact.q.abs().sum(-1).max().item<double>() * key_step / 2;
  Problem magnitude = exact;
  magnitude.cached.values = exact.cached.values.abs();
  const auto exactly = [](const Problem& problem) { return compute(problem, Implementation::reference).out; };
  const at::Tensor bound = std::expm1(2 * d) * exactly(magnitude) + value_step / 2;
  const at::Tensor difference =
      (compute(rounded.in(at::kFloat), Implementation::fast).out.to(at::kDouble) - exactly(exact)).abs();
  CHECK((difference - bound).max().item<double>() <= 0);
  CHECK(difference.max().item<double>() > 0);
}

TEST_CASE("indexed attention: the same bits with and without sums, and for any number of threads") {
  for (const int64_t n : {1, 5}) {
    const Problem problem = make_problem(n, 1500, 4, 2, 1100, 0.0).in(at::kFloat);
    const int before = at::get_num_threads();
    at::set_num_threads(1);
    const at::Tensor one = compute(problem, Implementation::fast).out;
    at::set_num_threads(3);
    CHECK(at::equal(compute(problem, Implementation::fast).out, one));
    CHECK(at::equal(compute(problem, Implementation::fast, false).out, one));
    at::set_num_threads(before);
  }
}

TEST_CASE("indexed attention: what it cannot read is told") {
  Problem problem = make_problem(1, 20, 2, 1, 10, 0.0);
  problem.rows.list = at::tensor(std::vector<int32_t>{3, 12}, at::kInt).unsqueeze(0);
  CHECK_THROWS_WITH(compute(problem, Implementation::fast), doctest::Contains("before the tail"));
  problem.rows = {at::Tensor(), 20};
  CHECK_THROWS_WITH(compute(problem, Implementation::fast), doctest::Contains("the tail begins"));
  problem = make_problem(1, 20, 2, 1, 10, 0.0).quantised();
  problem.cached.value_scales = at::Tensor();
  CHECK_THROWS_WITH(compute(problem, Implementation::fast), doctest::Contains("int8 rows have scales"));
}

}  // namespace
}  // namespace gca::kernels
