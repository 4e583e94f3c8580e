#pragma once
// Causal attention over chosen rows of a cache, which are read where they lie:
//
//   s_aij = q_ai . k_hj * scale - slope_a (p_i - j)      out_ai = sum_j softmax_j(s_aij) v_hj
//
// h = a / (H / H_kv) is the key/value head of query head a. j runs over the rows listed for h, then over the
// tail: every row from tail_begin to the query's own, p_i. Not differentiable.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace gca::kernels {

/// Keys and values of a cache, those of a head any stride apart. Int8 rows are whole numbers of steps, the size
/// of a step one for each row and head: k_hj = key_scales[j][h] * keys[j][h].
struct CachedRows {
  at::Tensor keys, values;              ///< (R, H_kv, dh), the type of the queries, or int8
  at::Tensor key_scales, value_scales;  ///< (R, H_kv) float32; undefined unless int8
};

/// Which rows of a cache are read.
struct IndexedRows {
  at::Tensor list;         ///< (H_kv, m) int32, rows before tail_begin and before every query; a shorter list
                           ///< ends in -1. Undefined: none
  int64_t tail_begin = 0;  ///< rows from here on are read by all heads
};

struct IndexedAttention {
  at::Tensor out;  ///< (n, H, dh), type of q
  at::Tensor
      lse;  ///< (n, H) float32 (double for double): the logarithm of the sum of exp(s), to merge parts by
  /// (H, m + R - tail_begin) float32 (double for double): the sum over the queries of the probabilities of
  /// each listed row, then of each row of the tail; 0 where nothing is read. Undefined where not asked for.
  at::Tensor column_sums;
};

/// Attention of the last n rows of a cache.
///   q       (n, H, dh)  float32, bf16 or double; query i stands at row R - n + i
///   slopes  (H)         float32 (double when q is double), ALiBi, 0 for none
/// Scores, statistics and sums are float32 (double for double). The same bits for any number of threads.
IndexedAttention indexed_attention(const at::Tensor& q, const CachedRows& cached, const IndexedRows& rows,
                                   const at::Tensor& slopes, double scale, bool with_column_sums = false);

}  // namespace gca::kernels
