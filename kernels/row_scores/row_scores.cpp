// fast: float32 and bf16 on the CPU. Threads share stretches of the rows of each key/value head; all query heads of
// it read a block of rows while it is in the first-level cache.
//
// reference: a product of matrices in float32 or double.

#include "kernels/row_scores/row_scores.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include <algorithm>

#include "kernels/common/implementation.h"
#include "kernels/common/named_work.h"
#include "kernels/common/tile_operand.h"

namespace gca::kernels {
namespace {

constexpr int64_t kBlockRows = 128;     // 8 KiB of bf16 keys of 32 elements
constexpr int64_t kStretchRows = 4096;  // of a thread's turn

at::Tensor scores_by_product(const at::Tensor& q, const at::Tensor& keys, double scale) {
  const at::ScalarType wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t kv_heads = keys.size(1);
  const at::Tensor queries = q.to(wide).view({kv_heads, q.size(0) / kv_heads, q.size(1)});
  return at::matmul(queries, keys.to(wide).permute({1, 2, 0})).mul_(scale).view({q.size(0), keys.size(0)});
}

template <typename T>
void score_rows(const at::Tensor& q_in, const at::Tensor& keys_in, double scale, at::Tensor& scores) {
  const TileKernels& floats = tile_kernels();
  const RowView<const T, 2> keys(keys_in);
  const int64_t rows = keys_in.size(0), kv_heads = keys_in.size(1), head_dim = keys_in.size(2);
  const int64_t group = q_in.size(0) / kv_heads;
  const at::Tensor q = q_in.to(at::kFloat).mul(scale).contiguous();
  const auto* queries = q.const_data_ptr<float>();
  auto* to = scores.mutable_data_ptr<float>();
  const int64_t stretches = (rows + kStretchRows - 1) / kStretchRows;
  at::parallel_for(0, kv_heads * stretches, 1, [&](int64_t first_work, int64_t end_work) {
    for (int64_t work = first_work; work < end_work; ++work) {
      const int64_t head = work / stretches, first = work % stretches * kStretchRows;
      const int64_t end = std::min(rows, first + kStretchRows);
      for (int64_t row = first; row < end; row += kBlockRows)
        for (int64_t a = head * group; a < (head + 1) * group; ++a)
          dot_rows(floats, std::min(kBlockRows, end - row), head_dim, queries + a * head_dim, keys(row, head),
                   keys.stride(0), to + a * rows + row);
    }
  });
}

}  // namespace

at::Tensor row_scores(const at::Tensor& q, const at::Tensor& keys_in, double scale) {
  TORCH_CHECK(q.dim() == 2 && keys_in.dim() == 3 && q.size(1) == keys_in.size(2) &&
                  q.size(0) % keys_in.size(1) == 0 && q.scalar_type() == keys_in.scalar_type(),
              "row_scores: ", q.sizes(), " for keys ", keys_in.sizes());
  const NamedWork work("gca::row_scores");
  const at::NoGradGuard no_grad;
  const bool is_fast =
      q.device().is_cpu() && q.scalar_type() != at::kDouble && implementation() != Implementation::reference;
  if (!is_fast) return scores_by_product(q, keys_in, scale);
  const at::Tensor keys = with_dense_rows(keys_in);
  at::Tensor scores = at::empty({q.size(0), keys.size(0)}, q.options().dtype(at::kFloat));
  if (q.scalar_type() == at::kFloat)
    score_rows<float>(q, keys, scale, scores);
  else
    score_rows<at::BFloat16>(q, keys, scale, scores);
  return scores;
}

}  // namespace gca::kernels
