// Searches through the int8 copies of keys against searches of the keys themselves.

#include "lib/model/layers/key_index.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace gca;
using kernels::LandmarkChoice;
using kernels::LandmarkPart;

namespace {

constexpr int64_t kHeads = 2;
constexpr int64_t kWidth = 12;

int64_t copied_keys(const std::vector<LandmarkPart>& parts) {
  int64_t copied = 0;
  for (const LandmarkPart& part : parts) copied += part.coarse.count * kernels::kCoarseRun;
  return copied;
}

}  // namespace

TEST_CASE("An index that follows keys finds the best of any beginning of them") {
  constexpr int64_t n = 9000;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor keys = at::randn({1, n, kHeads, kWidth}).to(type);
    const at::Tensor queries = at::randn({1, 3, kWidth});
    model::KeyIndex index;
    for (const int64_t followed : {1, 63, 64, 65, 300, 4095, 4097, 9000}) {
      index.follow(keys.narrow(1, 0, followed));
      for (const int64_t count : {followed, followed - followed / 3, std::min<int64_t>(followed, 64)}) {
        CAPTURE(followed);
        CAPTURE(count);
        for (int64_t head = 0; head < kHeads; ++head) {
          const std::vector<LandmarkPart> parts = index.parts(keys, 0, head, count);
          CHECK(copied_keys(parts) == count / kernels::kCoarseRun * kernels::kCoarseRun);
          const std::vector<LandmarkPart> plain = {{keys.select(2, head).narrow(1, 0, count)}};
          const LandmarkChoice found = kernels::landmark_search(queries, parts, count, 5, 0.3);
          const LandmarkChoice expected = kernels::landmark_search(queries, plain, count, 5, 0.3);
          CHECK(at::equal(found.idx, expected.idx));
          CHECK(at::equal(found.r, expected.r));
        }
      }
    }
  }
}

TEST_CASE("Of several texts nothing is copied, and each is searched by itself") {
  const at::Tensor keys = at::randn({2, 200, kHeads, kWidth});
  const at::Tensor queries = at::randn({1, 3, kWidth});
  model::KeyIndex index;
  index.follow(keys);
  CHECK(index.size_bytes() == 0);
  for (int64_t b = 0; b < 2; ++b) {
    const std::vector<LandmarkPart> plain = {{keys.narrow(0, b, 1).select(2, 1).narrow(1, 0, 150)}};
    const LandmarkChoice found = kernels::landmark_search(queries, index.parts(keys, b, 1, 150), 150, 5, 0.3);
    CHECK(at::equal(found.idx, kernels::landmark_search(queries, plain, 150, 5, 0.3).idx));
  }
}
