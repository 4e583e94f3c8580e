// The walk over landmarks in blocks against all scores at once and a stable sort.

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isneginf.h>
#include <ATen/ops/matmul.h>
#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "kernels/common/implementation.h"
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

std::vector<at::Tensor> in_parts(const at::Tensor& landmarks, const std::vector<int64_t>& lengths) {
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    parts.push_back(landmarks.narrow(1, begin, length));
    begin += length;
  }
  return parts;
}

}  // namespace

TEST_CASE("landmark search: the choice and its scores are those of a stable sort over all scores") {
  const int64_t C = 2500;
  at::Tensor landmarks = whole_numbers({2, C, 6}, 0.1);
  landmarks[0][7].fill_(std::numeric_limits<double>::quiet_NaN());
  landmarks[1][2100].fill_(-std::numeric_limits<double>::infinity());
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const at::Tensor l = landmarks.to(type);
    for (const int64_t R : {1, 4, 5, 40}) {
      const at::Tensor query = whole_numbers({2, R, 6}, 0.7).to(type);
      for (const int64_t first_query : {0, 1, 3, 1020, 2460, 4000}) {
        for (const int64_t K : {1, 4, 64}) {
          const std::vector<at::Tensor> whole = {l};
          const ImplementationGuard guard(Implementation::fast);
          const LandmarkChoice one = landmark_search(query, whole, first_query, K, 0.5);
          const auto parts = in_parts(l, {1, 1023, 1025, 0, 451});
          const LandmarkChoice several = landmark_search(query, parts, first_query, K, 0.5);
          CHECK(at::equal(one.idx, several.idx));
          CHECK(at::equal(one.r, several.r));
          const at::Tensor r = at::matmul(query, l.transpose(1, 2)) * 0.5;
          const ImplementationGuard plain(Implementation::reference);
          CHECK(at::equal(one.idx, landmark_topk(r, {}, first_query, K)));
          const LandmarkChoice reference = landmark_search(query, parts, first_query, K, 0.5);
          CHECK(at::equal(one.idx, reference.idx));
          CHECK(at::equal(one.r, reference.r));
        }
      }
    }
  }
}

TEST_CASE("landmark search: no landmark, no choice") {
  const at::Tensor query = whole_numbers({1, 3, 4}, 0.2).to(at::kFloat);
  const LandmarkChoice nothing = landmark_search(query, {}, 5, 2, 1.0);
  CHECK(nothing.idx.eq(-1).all().item<bool>());
  CHECK(nothing.r.isneginf().all().item<bool>());
}
