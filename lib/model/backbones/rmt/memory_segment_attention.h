#pragma once
// Attention inside a segment of the Recurrent Memory Transformer: read positions (memory), text, write
// positions (memory), causal. For positions i >= j:
//
//   both text           i - j <= W, bias -slope (i - j)
//   one of them memory  any distance, no bias

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lib/model/layers/transformer_layer.h"

namespace gca::model {

/// Positions of a segment that run now: a segment begins with its read positions and ends with its write
/// positions.
struct SegmentPart {
  int64_t reading = 0;  ///< M at the beginning of a segment, else 0
  int64_t text = 0;
  int64_t writing = 0;  ///< M at its end, else 0
};

/// Keys and values that positions of a segment see: (B, rows, H, dh) each.
struct SegmentRows {
  at::Tensor memory_keys, memory_values;  ///< of the read positions
  at::Tensor text_keys, text_values;      ///< of the text, that of this part at the end
};

/// The rows of a part that no other ran before: read positions and text, from its own keys and values.
SegmentRows rows_of_part(const Qkv& rows, const SegmentPart& part);

/// Attention of the positions of a part over `seen`. rows: of all its positions, (B, reading + text +
/// writing, H, dh);
/// slopes (H), masters' type -> (B, reading + text + writing, H, dh). Differentiable.
at::Tensor memory_segment_attention(const Qkv& rows, const SegmentPart& part, const SegmentRows& seen,
                                    const at::Tensor& slopes, int64_t window, double scale);

}  // namespace gca::model
