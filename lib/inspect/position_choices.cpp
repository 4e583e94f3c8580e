#include "lib/inspect/position_choices.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <set>

#include "lib/model/backbone_kinds.h"

namespace gca::inspect {

PositionChoices::PositionChoices(const model::ModelConfig& config, int64_t text_count)
    : layout_(model::chunk_layout_of(config)),
      chunk_tokens_(traced_chunk_tokens(config)),
      names_positions_(model::backbone_kind(config).choice_unit == model::ChoiceUnit::position),
      readers_(model::backbone_kind(config).readers(config).size()),
      sums_(static_cast<size_t>((text_count + chunk_tokens_ - 1) / chunk_tokens_) * readers_) {}

void PositionChoices::add(const std::vector<model::Choices>& choices, int64_t first_position) {
  for (size_t reader = 0; reader < choices.size(); ++reader) {
    const at::Tensor idx = choices[reader].idx.select(0, 0).to(at::kCPU, at::kLong).contiguous();
    const at::Tensor weights = choices[reader].weights.select(0, 0).to(at::kCPU, at::kDouble).contiguous();
    const int64_t K = idx.size(1);
    for (int64_t row = 0; row < idx.size(0); ++row) {
      if (layout_.is_landmark(first_position + row)) continue;
      const int64_t token = layout_.text_before(first_position + row);
      Sums& sums = sums_[static_cast<size_t>(token / chunk_tokens_) * readers_ + reader];
      add_row(idx.const_data_ptr<int64_t>() + row * K, weights.const_data_ptr<double>() + row * K, K, sums);
    }
  }
}

void PositionChoices::add_row(const int64_t* chosen, const double* weights, int64_t K, Sums& sums) const {
  std::set<int64_t> chunks;
  for (int64_t slot = 0; slot < K; ++slot) {
    if (chosen[slot] < 0) continue;
    const int64_t chunk = names_positions_ ? chosen[slot] / chunk_tokens_ : chosen[slot];
    RetrievedChunk& sum = sums[chunk];
    sum.chunk = chunk;
    sum.weight += weights[slot];
    if (names_positions_) {
      sum.of_tokens.resize(static_cast<size_t>(chunk_tokens_));
      sum.of_tokens[static_cast<size_t>(chosen[slot] % chunk_tokens_)] += weights[slot];
    }
    if (chunks.insert(chunk).second) ++sum.chosen_by;
  }
}

std::vector<RetrievedChunk> PositionChoices::heaviest(const Sums& sums, double tokens) {
  std::vector<RetrievedChunk> all;
  for (const auto& [chunk, sum] : sums) {
    all.push_back(sum);
    all.back().weight /= tokens;
    for (double& weight : all.back().of_tokens) weight /= tokens;
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.weight > b.weight; });
  if (all.size() > kMostShown) all.resize(kMostShown);
  return all;
}

void PositionChoices::write(std::vector<ChunkReading>& readings) const {
  for (size_t chunk = 0; chunk < readings.size(); ++chunk)
    for (size_t reader = 0; reader < readers_; ++reader)
      readings[chunk].readers[reader] =
          heaviest(sums_[chunk * readers_ + reader], static_cast<double>(readings[chunk].tokens));
}

}  // namespace gca::inspect
