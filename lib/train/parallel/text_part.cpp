#include "lib/train/parallel/text_part.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>

#include <array>
#include <vector>

#include "lib/model/backbone_kinds.h"
#include "lib/train/data/batch_tensors.h"

namespace gca::train {

TextPart part_of_text(const data::Batch& batch, const model::ModelConfig& config,
                      const parallel::Communicator* text_ranks, parallel::RingScheme scheme) {
  const auto [ids, targets] = to_tensors(batch);
  if (text_ranks == nullptr) return {ids, targets, 0, batch.target_count};
  const int ranks = text_ranks->size();
  const model::BackboneKind& kind = model::backbone_kind(config);
  const bool in_order = kind.text_sharing == model::TextSharing::in_order;
  const int64_t unit =
      in_order ? (kind.has_landmarks ? config.chunk_size : 1) * ranks : parallel::length_unit(scheme, ranks);
  const int64_t length = (batch.length + unit - 1) / unit * unit;
  const std::vector<parallel::PositionRange> ranges = parallel::positions_of(
      in_order ? parallel::RingScheme::ring : scheme, length, text_ranks->rank(), ranks);
  const auto own = [&](const at::Tensor& rows, int64_t filling) {
    const at::Tensor padded =
        at::constant_pad_nd(rows, std::array<int64_t, 2>{0, length - batch.length}, filling);
    std::vector<at::Tensor> parts;
    for (const parallel::PositionRange& range : ranges)
      parts.push_back(padded.narrow(1, range.first, range.count));
    return at::cat(parts, 1);
  };
  TextPart part;
  part.ids = own(ids, 0);
  part.targets = own(targets, data::kNoTarget);
  part.position = ranges.front().first;
  part.target_count = part.targets.ge(0).sum().item<int64_t>();
  return part;
}

}  // namespace gca::train
