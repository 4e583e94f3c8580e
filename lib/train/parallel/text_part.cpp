#include "lib/train/parallel/text_part.h"

#include <ATen/ops/constant_pad_nd.h>

#include <array>

#include "lib/model/backbone_kinds.h"
#include "lib/train/data/batch_tensors.h"

namespace gca::train {

TextPart part_of_text(const data::Batch& batch, const model::ModelConfig& config,
                      const parallel::Communicator* text_ranks) {
  const auto [ids, targets] = to_tensors(batch);
  if (text_ranks == nullptr) return {ids, targets, 0, batch.target_count};
  const int64_t chunk = model::backbone_kind(config).has_landmarks ? config.chunk_size : 1;
  const int64_t unit = chunk * text_ranks->size();
  const int64_t n = (batch.length + unit - 1) / unit * chunk;
  const int64_t first = text_ranks->rank() * n;
  const std::array<int64_t, 2> padding = {0, n * text_ranks->size() - batch.length};
  TextPart part;
  part.ids = at::constant_pad_nd(ids, padding, 0).narrow(1, first, n).contiguous();
  part.targets = at::constant_pad_nd(targets, padding, data::kNoTarget).narrow(1, first, n).contiguous();
  part.position = first;
  part.target_count = part.targets.ge(0).sum().item<int64_t>();
  return part;
}

}  // namespace gca::train
