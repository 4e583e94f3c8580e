// Indexed attention, the plain reference: the formulae of indexed_attention.h as loops. In bfloat16 the
// probabilities are rounded before their product with the values, as in the plain sliding window.

#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/indexed_attention/indexed_attention_versions.h"

namespace gca::kernels {
namespace {

/// `Row`: the type of keys and values, float32 for those that were int8.
template <typename T, typename Row>
void attend(const at::Tensor& q_tensor, const at::Tensor& keys, const at::Tensor& values,
            const IndexedRows& rows, const at::Tensor& slopes_tensor, double scale_double,
            IndexedAttention& result) {
  using Sum = at::opmath_type<T>;
  const auto q = q_tensor.accessor<T, 3>();
  const auto k = keys.accessor<Row, 3>();
  const auto v = values.accessor<Row, 3>();
  const auto slopes = slopes_tensor.accessor<Sum, 1>();
  auto out = result.out.accessor<T, 3>();
  const int64_t n = q.size(0), head_dim = q.size(2), heads_per_kv = q.size(1) / k.size(1);
  const int64_t listed = rows.list.defined() ? rows.list.size(1) : 0;
  const auto scale = static_cast<Sum>(scale_double);

  for (int64_t i = 0; i < n; ++i) {
    const int64_t place = k.size(0) - n + i;
    for (int64_t a = 0; a < q.size(1); ++a) {
      const int64_t h = a / heads_per_kv;
      std::vector<int64_t> row, column;
      for (int64_t j = 0; j < listed; ++j) {
        const int32_t number = rows.list.const_data_ptr<int32_t>()[h * listed + j];
        if (number < 0) continue;
        row.push_back(number);
        column.push_back(j);
      }
      for (int64_t j = rows.tail_begin; j <= place; ++j) {
        row.push_back(j);
        column.push_back(listed + j - rows.tail_begin);
      }
      std::vector<Sum> score;
      for (const int64_t j : row) {
        Sum product = 0;
        for (int64_t e = 0; e < head_dim; ++e)
          product += static_cast<Sum>(q[i][a][e]) * static_cast<Sum>(k[j][h][e]);
        score.push_back(product * scale - slopes[a] * static_cast<Sum>(place - j));
      }
      const Sum largest = *std::max_element(score.begin(), score.end());
      Sum denominator = 0;
      for (const Sum s : score) denominator += std::exp(s - largest);
      result.lse.accessor<Sum, 2>()[i][a] = largest + std::log(denominator);
      std::vector<Sum> total(static_cast<size_t>(head_dim), Sum{0});
      for (size_t j = 0; j < row.size(); ++j) {
        const Sum p = std::exp(score[j] - largest) / denominator;
        if (result.column_sums.defined()) result.column_sums.accessor<Sum, 2>()[a][column[j]] += p;
        for (int64_t e = 0; e < head_dim; ++e)
          total[static_cast<size_t>(e)] +=
              static_cast<Sum>(static_cast<T>(p)) * static_cast<Sum>(v[row[j]][h][e]);
      }
      for (int64_t e = 0; e < head_dim; ++e) out[i][a][e] = static_cast<T>(total[static_cast<size_t>(e)]);
    }
  }
}

/// What int8 rows stand for, float32; others as they are.
at::Tensor restored(const at::Tensor& rows, const at::Tensor& scales) {
  return scales.defined() ? rows.to(at::kFloat) * scales.unsqueeze(-1) : rows;
}

template <typename T>
void attend_to(const at::Tensor& q, const CachedRows& cached, const IndexedRows& rows,
               const at::Tensor& slopes, double scale, IndexedAttention& result) {
  const at::Tensor keys = restored(cached.keys, cached.key_scales);
  const at::Tensor values = restored(cached.values, cached.value_scales);
  if (cached.key_scales.defined())
    attend<T, float>(q, keys, values, rows, slopes, scale, result);
  else
    attend<T, T>(q, keys, values, rows, slopes, scale, result);
}

}  // namespace

IndexedAttention indexed_attention_reference(const at::Tensor& q, const CachedRows& cached,
                                             const IndexedRows& rows, const at::Tensor& slopes, double scale,
                                             bool with_column_sums) {
  IndexedAttention result;
  result.out = at::empty(q.sizes(), q.options());
  result.lse = at::empty({q.size(0), q.size(1)}, slopes.options());
  const int64_t listed = rows.list.defined() ? rows.list.size(1) : 0;
  if (with_column_sums)
    result.column_sums =
        at::zeros({q.size(1), listed + cached.keys.size(0) - rows.tail_begin}, slopes.options());
  switch (q.scalar_type()) {
    case at::kDouble:
      attend_to<double>(q, cached, rows, slopes, scale, result);
      break;
    case at::kBFloat16:
      attend_to<at::BFloat16>(q, cached, rows, slopes, scale, result);
      break;
    default:
      attend_to<float>(q, cached, rows, slopes, scale, result);
  }
  return result;
}

}  // namespace gca::kernels
