#include "lib/model/kv_cache/read_all_rows.h"

#include "kernels/indexed_attention/indexed_attention.h"
#include "kernels/sliding_window_attention/sliding_window_attention.h"

namespace gca::model {
namespace {

/// Up to so many queries of one text read rows in place; a tile would be mostly padding.
constexpr int64_t kFewQueries = 4;

}  // namespace

at::Tensor read_all_rows(const at::Tensor& q, const StoredRows& rows, const AttentionSettings& settings) {
  if (q.size(0) == 1 && q.size(1) <= kFewQueries)
    return kernels::indexed_attention(q[0], rows.of_text(), {}, settings.slopes, settings.scale)
        .out.unsqueeze(0);
  const StoredRows all = rows.restored(q.scalar_type());
  return kernels::sliding_window_attention(q, all.keys, all.values, settings.slopes, /*window=*/rows.count(),
                                           settings.scale);
}

}  // namespace gca::model
