#include "kernels/row_scores/row_scores.h"

#include <ATen/Parallel.h>
#include <ATen/ops/einsum.h>

#include "kernels/common/implementation.h"
#include "tests/kernels/attention_test_support.h"
#include "tests/support/gradcheck.h"

namespace gca::kernels {
namespace {

using testing::some_numbers;

TEST_CASE("row scores: both versions are within rounding of a product in double, wherever the rows lie") {
  // Fewer rows than a block, no multiple of one, more than a stretch; heads side by side, apart, and shared.
  for (const int64_t rows : {1, 100, 5000})
    for (const int64_t head_dim : {8, 32, 40})
      for (const int64_t kv_heads : {1, 2})
        for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
          CAPTURE(rows);
          CAPTURE(head_dim);
          CAPTURE(kv_heads);
          const at::Tensor q = some_numbers({4, head_dim}, 1.0, 0).to(type);
          const at::Tensor wide_keys = some_numbers({kv_heads + 1, rows, head_dim + 3}, 1.0, 1).to(type);
          const at::Tensor keys = wide_keys.narrow(0, 1, kv_heads).narrow(2, 0, head_dim).transpose(0, 1);
          const at::Tensor exact =
              at::einsum("hgd,rhd->hgr",
                         {q.to(at::kDouble).view({kv_heads, 4 / kv_heads, head_dim}), keys.to(at::kDouble)})
                  .view({4, rows}) *
              0.3;
          const double bound = type == at::kDouble ? 1e-13 : 1e-5;
          for (const auto version : {Implementation::reference, Implementation::fast}) {
            const ImplementationGuard guard(version);
            const at::Tensor scores = row_scores(q, keys, 0.3);
            CHECK((scores.scalar_type() == at::kDouble) == (type == at::kDouble));
            CHECK((scores.to(at::kDouble) - exact).abs().max().item<double>() <= bound);
          }
        }
}

TEST_CASE("row scores: the same bits for any number of threads") {
  const at::Tensor q = some_numbers({4, 32}, 1.0, 0).to(at::kBFloat16);
  const at::Tensor keys = some_numbers({9000, 2, 32}, 1.0, 1).to(at::kBFloat16);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = row_scores(q, keys, 0.5);
  at::set_num_threads(3);
  CHECK(row_scores(q, keys, 0.5).equal(one));
  at::set_num_threads(before);
}

}  // namespace
}  // namespace gca::kernels
