#pragma once
// Which positions of its rows a rank reads where several share a text.

#include <ATen/core/Tensor.h>

#include "lib/data/sequence_loader.h"
#include "lib/model/model_config.h"
#include "lib/parallel/communicator.h"
#include "lib/parallel/text_shares.h"

namespace gca::train {

struct TextPart {
  at::Tensor ids;            ///< (B, n) int64
  at::Tensor targets;        ///< (B, n) int64, negative where there is none
  int64_t position = 0;      ///< of the first
  int64_t target_count = 0;  ///< of these targets
};

/// The positions of rank() of text_ranks->size(): equal parts of whole chunks, or those of `scheme` where the model's attention
/// is full. The rows are padded behind with positions that predict nothing. All of the batch, as it is, without `text_ranks`.
TextPart part_of_text(const data::Batch& batch, const model::ModelConfig& config,
                      const parallel::Communicator* text_ranks, parallel::RingScheme scheme);

}  // namespace gca::train
