#pragma once
// One position of one text through a list of layers: what decoding runs. The same arithmetic as
// Backbone::run, row by row, without an operator's overhead: a team of threads walks through the layers
// together, each takes its share of heads and of rows of every weight. Bound by reading the weights once, next
// the keys and values that attention reads and the chosen chunks.
//
// A layer takes four meetings of the team, two more where it reads chunks:
//
//   q, k, v of a thread's heads, their attention | W_o | gate and up | W_down      and   the reader's q and
//   reading | W_o
//
// The residual and its norms are computed by every thread for itself.

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lib/model/layers/transformer_layer.h"
#include "lib/model/layers/window_stack.h"
#include "lib/model/memory/chunk_memory.h"
#include "lib/model/model_config.h"
#include "lib/model/rows/row_attention.h"

namespace gca::model {

/// Grouped cross-attention between a layer's attention and its MLP.
struct RowReader {
  const Norm* norm;
  const Weight *wq, *wo;      // (d, d)
  const ChunkView* chunks;    ///< idx (1, 1, K); undefined: nothing is read
  const at::Tensor* weights;  ///< (1, 1, K) float32
  bool softmax_off_by_one;
  double residual_blend;  ///< lambda of h' = a + lambda o + MLP(m)
};

/// A layer and what this position reads in it; the weights are the model's.
struct RowLayer {
  const Norm* attn_norm;
  const AttentionWeights* attn;
  std::unique_ptr<RowAttention> attention;
  std::optional<RowReader> reader;
  const Norm* mlp_norm;
  const MlpWeights* mlp;
};

/// A layer that attends by `attention`.
RowLayer row_layer(const DecoderLayer& layer, std::unique_ptr<RowAttention> attention);

/// Appends the layers of a stack, with sliding windows. slopes (H).
void add_row_layers(const WindowStack& stack, std::span<WindowCache> windows, const at::Tensor& slopes,
                    const ModelConfig& config, std::vector<RowLayer>& layers);

struct RowStack {
  const std::vector<RowLayer>& layers;
  size_t tapped;  ///< layers before the place whose residual stream is told, too
  const Norm& final_norm;
  const ModelConfig& config;
};

/// True when decode_row() takes these layers: float32 or bf16 on the CPU, pasts that take rows.
bool can_decode_row(const std::vector<RowLayer>& layers);

struct DecodedRow {
  at::Tensor tapped;  ///< (1, 1, d) float32: the residual stream after `tapped` layers
  at::Tensor hidden;  ///< (1, 1, d), compute type: after the final norm
};

/// Runs the position whose token has the embedding `embedding` (d, float32) and appends it to the layers' pasts.
DecodedRow decode_row(const RowStack& stack, const at::Tensor& embedding);

}  // namespace gca::model
