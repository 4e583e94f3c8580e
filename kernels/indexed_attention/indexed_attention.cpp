// Indexed attention: argument checks and choice of the version.

#include "kernels/indexed_attention/indexed_attention.h"

#include <algorithm>

#include "kernels/common/implementation.h"
#include "kernels/common/named_work.h"
#include "kernels/common/tile_operand.h"
#include "kernels/indexed_attention/indexed_attention_versions.h"

namespace gca::kernels {
namespace {

constexpr auto kName = "indexed_attention: ";

void check_rows(const at::Tensor& q, const CachedRows& cached) {
  const at::Tensor &keys = cached.keys, &values = cached.values;
  TORCH_CHECK(keys.sizes() == values.sizes() && keys.dim() == 3 && keys.size(0) >= q.size(0) &&
                  keys.size(1) > 0 && q.size(1) % keys.size(1) == 0 && keys.size(2) == q.size(2),
              kName, "keys and values must be (R, H_kv, dh) for q ", q.sizes(), ", got ", keys.sizes(),
              " and ", values.sizes());
  const at::ScalarType type = keys.scalar_type();
  TORCH_CHECK((type == q.scalar_type() || type == at::kChar) && values.scalar_type() == type, kName,
              "keys and values must be ", q.scalar_type(), " like q, or int8");
  for (const at::Tensor* scales : {&cached.key_scales, &cached.value_scales}) {
    TORCH_CHECK(scales->defined() == (type == at::kChar), kName, "int8 rows have scales, and no others have");
    TORCH_CHECK(!scales->defined() ||
                    (scales->scalar_type() == at::kFloat && scales->sizes() == keys.sizes().slice(0, 2)),
                kName, "scales must be ", keys.sizes().slice(0, 2), " float32, got ", scales->sizes());
  }
}

void check_arguments(const at::Tensor& q, const CachedRows& cached, const IndexedRows& rows,
                     const at::Tensor& slopes) {
  TORCH_CHECK(q.dim() == 3 && q.size(0) > 0, kName, "q must be (n, H, dh), got ", q.sizes());
  const auto type = q.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kDouble, kName,
              "q must be float32, bfloat16 or double, got ", type);
  check_rows(q, cached);
  const at::Tensor& keys = cached.keys;
  TORCH_CHECK(slopes.dim() == 1 && slopes.size(0) == q.size(1) &&
                  slopes.scalar_type() == (type == at::kDouble ? at::kDouble : at::kFloat),
              kName, "slopes must be (", q.size(1), "), float32 or double like q, got ", slopes.sizes());
  const int64_t first_query = keys.size(0) - q.size(0);
  TORCH_CHECK(rows.tail_begin >= 0 && rows.tail_begin <= first_query, kName, "the tail begins at ",
              rows.tail_begin, ", behind the first query, ", first_query);
  if (!rows.list.defined()) return;
  TORCH_CHECK(
      rows.list.dim() == 2 && rows.list.size(0) == keys.size(1) && rows.list.scalar_type() == at::kInt, kName,
      "the list must be (", keys.size(1), ", m) int32, got ", rows.list.sizes());
  const auto* listed = rows.list.const_data_ptr<int32_t>();
  TORCH_CHECK(std::all_of(listed, listed + rows.list.numel(),
                          [&](int32_t row) { return row >= -1 && row < rows.tail_begin; }),
              kName, "a listed row is not before the tail, ", rows.tail_begin);
}

}  // namespace

IndexedAttention indexed_attention(const at::Tensor& q, const CachedRows& cached, const IndexedRows& rows,
                                   const at::Tensor& slopes, double scale, bool with_column_sums) {
  const NamedWork work("gca::indexed_attention");
  const IndexedRows dense{rows.list.defined() ? rows.list.contiguous() : rows.list, rows.tail_begin};
  check_arguments(q, cached, dense, slopes);
  if (implementation() == Implementation::reference || q.scalar_type() == at::kDouble)
    return indexed_attention_reference(q, cached, dense, slopes, scale, with_column_sums);
  return indexed_attention_cpu(
      with_dense_rows(q),
      {with_dense_rows(cached.keys), with_dense_rows(cached.values), cached.key_scales, cached.value_scales},
      dense, slopes.contiguous(), scale, with_column_sums);
}

}  // namespace gca::kernels
