// The walk over landmarks in blocks, with and without their int8 copy, against all scores at once and a
// stable sort; and the bound that the copy gives, against scores in double.

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isneginf.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/common/int8_products.h"
#include "kernels/landmark_topk/coarse_landmarks.h"
#include "kernels/landmark_topk/landmark_search.h"
#include "kernels/landmark_topk/landmark_topk.h"
#include "tests/support/gradcheck.h"

using namespace gca::kernels;
using namespace gca::testing;

namespace {

/// Whole numbers, so that every product is exact and ties are many.
at::Tensor whole_numbers(const std::vector<int64_t>& shape, double phase) {
  return some_numbers(shape, 2.0, phase).round();
}

/// A sequence of landmarks in parts.
struct Parts {
  std::vector<LandmarkPart> list;
  std::vector<CoarseLandmarks> copies;  // that the list looks into
};

/// landmarks (B, C, d) float32 or float64 in parts of these lengths. With `coarse_begin`, each part has a
/// copy of the whole runs from there on.
Parts in_parts(const at::Tensor& landmarks, const std::vector<int64_t>& lengths,
               std::optional<int64_t> coarse_begin = {}) {
  Parts parts;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    LandmarkPart part{landmarks.narrow(1, begin, length)};
    begin += length;
    if (coarse_begin && length >= *coarse_begin) {
      part.coarse_begin = *coarse_begin;
      const int64_t runs = (length - part.coarse_begin) / kCoarseRun, d = landmarks.size(2);
      CoarseLandmarks& copy = parts.copies.emplace_back(d, length);
      copy.append(part.rows.const_data_ptr<float>() + part.coarse_begin * d, runs);
      part.coarse = copy.runs(0, runs);
    }
    parts.list.push_back(part);
  }
  return parts;
}

/// landmarks (64, d) and q (d) in float32. Returns how far the bounds of a score are apart at most.
double check_bounds(const at::Tensor& landmarks, const at::Tensor& q) {
  const int64_t d = q.size(0);
  const at::Tensor rows = landmarks.contiguous();
  CoarseLandmarks copy(d, kCoarseRun);
  copy.append(rows.const_data_ptr<float>(), 1);
  const CoarseRuns run = copy.runs(0, 1);
  const CoarseQuery query(q.const_data_ptr<float>(), d);
  float centre_score = 0;
  for (int64_t e = 0; e < d; ++e) centre_score += run.centres[e] * q[e].item<float>();
  const ScoreBounds bounds(query, run.bounds[0], centre_score);
  std::vector<int32_t> products(kInt8Run);
  int8_products().multiply(run.groups(), run.codes_of(0), query.codes.data(), 0, products.data());
  const at::Tensor scores = at::matmul(rows.to(at::kDouble), q.to(at::kDouble));
  double apart = 0;
  for (int64_t i = 0; i < kCoarseRun; ++i) {
    const double score = scores[i].item<double>();
    const int32_t product = products[static_cast<size_t>(i)];
    CHECK(bounds.least(product) <= score);
    CHECK(bounds.most(product) >= score);
    CHECK(bounds.product_limit(score) < product);  // a bar at the score itself does not bar it
    apart = std::max(apart, bounds.most(product) - bounds.least(product));
  }
  return apart;
}

/// The choices with a copy of the landmarks are those without one, bit for bit.
void check_copy_changes_nothing(const at::Tensor& query, const at::Tensor& landmarks) {
  const int64_t C = landmarks.size(1);
  const Parts plain = in_parts(landmarks, {C}), coarse = in_parts(landmarks, {C}, 5);
  REQUIRE(coarse.list.front().coarse.count > 1);
  for (const int64_t K : {1, 4, 32}) {
    const LandmarkChoice all = landmark_search(query, plain.list, C, K, 0.1);
    const LandmarkChoice possible = landmark_search(query, coarse.list, C, K, 0.1);
    CHECK(at::equal(all.idx, possible.idx));
    CHECK(at::equal(all.r, possible.r));
  }
}

}  // namespace

TEST_CASE("int8 products: whole numbers at the ends of their range, on every instruction set") {
  for (const int64_t groups : {1, 2, 33}) {
    std::vector<uint8_t> x(static_cast<size_t>(groups * kInt8Run * kInt8Group));
    std::vector<int8_t> y(static_cast<size_t>(groups * kInt8Group));
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(i % 3 == 0 ? 255 : i * 37 % 256);
    for (size_t j = 0; j < y.size(); ++j)
      y[j] = static_cast<int8_t>(j % 2 == 0 ? 127 : -static_cast<int>(j * 29 % 129));
    std::vector<int32_t> expected(kInt8Run, 0);
    for (size_t g = 0; g < static_cast<size_t>(groups); ++g)
      for (size_t i = 0; i < kInt8Run; ++i)
        for (size_t j = 0; j < kInt8Group; ++j)
          expected[i] += x[(g * kInt8Run + i) * kInt8Group + j] * y[g * kInt8Group + j];
    std::vector<int32_t> sorted = expected;
    std::sort(sorted.begin(), sorted.end());
    for (const Int8Products* version : runnable_int8_products()) {
      CAPTURE(version->name);
      for (const int32_t limit : {INT32_MIN, sorted[10], sorted[50], INT32_MAX}) {
        std::vector<int32_t> products(kInt8Run, -1);
        const uint64_t above = version->multiply(groups, x.data(), y.data(), limit, products.data());
        CHECK(products == expected);
        for (size_t i = 0; i < kInt8Run; ++i) CHECK((above >> i & 1) == (expected[i] > limit ? 1 : 0));
      }
    }
  }
}

TEST_CASE("coarse landmarks: every score is within its bounds, and they are near") {
  const int64_t d = 50;  // no whole number of groups
  const at::Tensor noise = some_numbers({kCoarseRun, d}, 1.0, 0.3);
  at::Tensor outlier = noise.clone();
  outlier[20] *= 40;
  // What the bounds may be apart, for rows about as long as d^0.5: steps of 1/127 of the largest element.
  const std::vector<std::pair<at::Tensor, double>> cases = {
      {noise, 1.6},
      {noise * 0.01 + some_numbers({1, d}, 5.0, 0.9),
       0.018},  // nearly equal: the centre takes what they share
      {outlier, 60.0},
      {some_numbers({1, d}, 5.0, 0.9).expand({kCoarseRun, d}), 0.01},  // equal: float32 sums still round
      {at::zeros({kCoarseRun, d}, at::kDouble), 1e-6}};
  for (const auto& [rows, most] : cases) {
    for (int variant = 0; variant < 20; ++variant) {
      const at::Tensor q = some_numbers({d}, 1.0, 1.7 * variant);
      CHECK(check_bounds(rows.to(at::kFloat), q.to(at::kFloat)) <= most);
    }
  }
}

TEST_CASE("coarse landmarks: errors of rounding that all add up") {
  // Half the landmarks are -1 times the others: the centre is 0. Whole numbers of steps of 1, but for one
  // factor, whose every element is rounded by 0.49 in the sense of the other factor's sign.
  const int64_t d = 64;
  const at::Tensor sign = some_numbers({d}, 1.0, 0.4).sign();
  const at::Tensor halves =
      at::cat({at::ones({kCoarseRun / 2, 1}, at::kDouble), -at::ones({kCoarseRun / 2, 1}, at::kDouble)});
  at::Tensor size = at::full({d}, 20.0, at::kDouble);
  size[0] = 127;
  for (const double rounded : {0.49, -0.49}) {
    at::Tensor between = size + rounded;
    between[0] = 127;
    check_bounds((halves * sign * size).to(at::kFloat), (sign * between).to(at::kFloat));
    check_bounds((halves * sign * between).to(at::kFloat), (sign * size).to(at::kFloat));
  }
}

TEST_CASE("landmark search: the choice and its scores are those of a stable sort over all scores") {
  const int64_t C = 2500;
  at::Tensor landmarks = whole_numbers({2, C, 6}, 0.1);
  landmarks[0][7].fill_(std::numeric_limits<double>::quiet_NaN());
  landmarks[1][2100].fill_(-std::numeric_limits<double>::infinity());
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const at::Tensor l = landmarks.to(type);
    const Parts whole = in_parts(l, {C}), several = in_parts(l, {1, 1023, 1025, 0, 451});
    for (const int64_t R : {1, 4, 5, 40}) {
      const at::Tensor query = whole_numbers({2, R, 6}, 0.7).to(type);
      for (const int64_t first_query : {0, 1, 3, 1020, 2460, 4000}) {
        for (const int64_t K : {1, 4, 64}) {
          const ImplementationGuard guard(Implementation::fast);
          const LandmarkChoice one = landmark_search(query, whole.list, first_query, K, 0.5);
          const LandmarkChoice other = landmark_search(query, several.list, first_query, K, 0.5);
          CHECK(at::equal(one.idx, other.idx));
          CHECK(at::equal(one.r, other.r));
          const at::Tensor r = at::matmul(query, l.transpose(1, 2)) * 0.5;
          const ImplementationGuard plain(Implementation::reference);
          CHECK(at::equal(one.idx, landmark_topk(r, {}, first_query, K)));
          const LandmarkChoice reference = landmark_search(query, several.list, first_query, K, 0.5);
          CHECK(at::equal(one.idx, reference.idx));
          CHECK(at::equal(one.r, reference.r));
          if (type != at::kFloat) continue;
          for (int64_t b = 0; b < 2; ++b) {
            const Parts coarse = in_parts(l.narrow(0, b, 1), {1, 1023, 1025, 0, 451}, 1);
            const ImplementationGuard fast(Implementation::fast);
            const LandmarkChoice possible =
                landmark_search(query.narrow(0, b, 1), coarse.list, first_query, K, 0.5);
            CHECK(at::equal(one.idx.narrow(0, b, 1), possible.idx));
            CHECK(at::equal(one.r.narrow(0, b, 1), possible.r));
          }
        }
      }
    }
  }
}

TEST_CASE("landmark search: a copy of the landmarks changes neither choice nor scores") {
  const int64_t C = 1500;
  for (const int64_t d : {50, 64}) {
    const at::Tensor landmarks = some_numbers({1, C, d}, 1.0, 0.2),
                     shared = some_numbers({1, 1, d}, 3.0, 0.5);
    for (const int64_t R : {1, 20}) {
      const at::Tensor query = some_numbers({1, R, d}, 1.0, 0.8).to(at::kFloat);
      check_copy_changes_nothing(query, landmarks.to(at::kFloat));
      check_copy_changes_nothing(query,
                                 (shared + landmarks * 1e-4).to(at::kFloat));  // float32 hardly tells them
      check_copy_changes_nothing(query, (landmarks * 1e18).to(at::kFloat));
      check_copy_changes_nothing(query * 1e18, (landmarks * 1e19).to(at::kFloat));  // about where floats end
      check_copy_changes_nothing(query, (landmarks * 1e-38).to(at::kFloat));
      check_copy_changes_nothing(query, at::zeros({1, C, d}, at::kFloat));
      at::Tensor unknown = query.clone();
      unknown[0][0][3] = std::numeric_limits<float>::quiet_NaN();
      check_copy_changes_nothing(unknown, landmarks.to(at::kFloat));
    }
  }
}

TEST_CASE("landmark search: keys of a head in a cache of bf16, with and without their copy") {
  const int64_t C = 1500, heads = 3, d = 40;
  const at::Tensor cache = some_numbers({1, C, heads, d}, 1.0, 0.6).to(at::kBFloat16);
  const at::Tensor query = some_numbers({1, 20, d}, 1.0, 0.1).to(at::kFloat);
  for (int64_t head = 0; head < heads; ++head) {
    const at::Tensor dense = cache.select(2, head).to(at::kFloat).contiguous();
    const Parts floats = in_parts(dense, {C}, 0);
    std::vector<LandmarkPart> keys = {{cache.select(2, head)}};
    const LandmarkChoice plain = landmark_search(query, keys, C, 9, 0.3);
    keys.front().coarse = floats.list.front().coarse;
    const LandmarkChoice coarse = landmark_search(query, keys, C, 9, 0.3);
    CHECK(at::equal(coarse.idx, plain.idx));
    CHECK(at::equal(coarse.r, plain.r));
    const ImplementationGuard guard(Implementation::reference);
    for (const at::Tensor& rows : {cache.select(2, head), dense}) {
      const LandmarkChoice reference = landmark_search(query, std::vector<LandmarkPart>{{rows}}, C, 9, 0.3);
      CHECK(at::equal(plain.idx, reference.idx));
      CHECK(at::allclose(plain.r, reference.r, 1e-5, 1e-5));
    }
  }
}

TEST_CASE("landmark search: no landmark, no choice") {
  const at::Tensor query = whole_numbers({1, 3, 4}, 0.2).to(at::kFloat);
  const LandmarkChoice nothing = landmark_search(query, {}, 5, 2, 1.0);
  CHECK(nothing.idx.eq(-1).all().item<bool>());
  CHECK(nothing.r.isneginf().all().item<bool>());
}
