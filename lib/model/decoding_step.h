#pragma once
// One position of one text: what decoding runs between two landmarks. The same arithmetic as
// LanguageModel::forward, row by row, without an operator's overhead: a team of threads walks through the
// layers together, each takes its share of heads and of rows of every weight, and nothing is allocated. Bound
// by reading the weights once, next the windows' keys and values and the chosen chunks.
//
// A layer takes four meetings of the team, two more where it reads chunks:
//
//   q, k, v of a thread's heads, their attention | W_o | gate and up | W_down      and   GCA's q and reading
//   | W_o
//
// The residual and its norms are computed by every thread for itself.

#include <ATen/core/Tensor.h>

#include "lib/model/backbones/gca/upper_layer.h"
#include "lib/model/drt_state.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/model_config.h"

namespace gca {

/// The parts of a model that a step runs; owned by the model.
struct DecodingLayers {
  const ModelConfig& config;
  const at::Tensor& slopes;  ///< (H) float32
  const std::vector<DecoderLayer>& lower;
  const std::vector<DecoderLayer>& baseline;  ///< upper decoder without retrieval, or empty
  const std::vector<UpperLayer>& upper;       ///< upper decoder with retrieval, or empty
  const Norm& out_norm;
};

/// True when decode_position() takes the next position of `state`: float32 or bf16 weights on the CPU, one
/// text that has windows, and no chunk that ends at this position.
bool can_decode_position(const DecodingLayers& layers, const DrtState& state);

/// Runs the position whose token has the embedding `embedded` (d, float32) and advances `state`, its position
/// and open chunk excepted: h_low (1, 1, d), float32, and the hidden state after the final norm (1, 1, d),
/// compute type.
struct DecodedPosition {
  at::Tensor h_low, hidden;
};
DecodedPosition decode_position(const DecodingLayers& layers, const at::Tensor& embedded, DrtState& state);

}  // namespace gca
