#include "kernels/top_k/top_k.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/sort.h>
#include <doctest/doctest.h>

namespace gca::kernels {
namespace {

TEST_CASE("top_k: the greatest of each row in ascending places, of equal ones the first") {
  // Few different values: most of them are equal to others.
  for (const int64_t different : {3, 1000}) {
    const at::Tensor scores = at::randint(different, {2, 7, 90}, at::kFloat);
    for (const int64_t k : {1, 4, 89, 90}) {
      CAPTURE(k);
      const at::Tensor order = std::get<1>(at::sort(scores, /*stable=*/true, -1, /*descending=*/true));
      const at::Tensor expected = std::get<0>(at::sort(order.narrow(-1, 0, k), -1));
      CHECK(at::equal(top_k(scores, k), expected));
      CHECK(at::equal(top_k(scores.to(at::kDouble), k), expected));
    }
  }
}

}  // namespace
}  // namespace gca::kernels
