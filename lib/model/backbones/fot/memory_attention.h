#pragma once
// Memory layers at inference: the local context so far and, of all positions before it, the keys with the
// highest scores.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lib/model/layers/key_index.h"

namespace gca::model {

struct MemoryRange {
  int64_t local_context = 1;  ///< n
  int64_t top_k = 0;          ///< 0: the whole memory is read
  bool reads_memory = true;   ///< false: the local context alone is read
};

struct MemoryReading {
  at::Tensor out;  ///< (B, m, H, dh), type of q
  at::Tensor lse;  ///< (B, H, m), float32 or double: logarithm of the sum of exp(score) over what was read
};

/// The last m of P + m positions, in one softmax without positions: position i sees j of its local context, j
/// <= i, and of those before it, which end at n (i div n), the top_k best of each query and head; all with
/// top_k 0 or where there are no more. Of equal scores the earlier position is chosen.
///   q (B, m, H, dh)   k, v (B, P + m, H, dh).   No gradients.
/// An `index` that has followed k saves time and changes nothing else.
MemoryReading memory_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const MemoryRange& range, double scale, const KeyIndex& index = {});

struct MemoryChoice {
  at::Tensor positions;  ///< (B, m, H, K) int32, in the order of the text, -1 for none
  at::Tensor shares;     ///< (B, m, H, K): of the softmax, what each of them has, 0 for none
};

constexpr int64_t kMostTold = 32;

/// Which positions of the memory these queries read, K = top_k; of a memory that is read whole the kMostTold
/// with the largest shares. `lse` is memory_attention()'s.
MemoryChoice memory_choice(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                           const MemoryRange& range, double scale);

}  // namespace gca::model
