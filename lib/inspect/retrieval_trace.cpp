#include "lib/inspect/retrieval_trace.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <utility>

#include "lib/core/error.h"
#include "lib/model/text_feeder.h"

namespace gca::inspect {
namespace {

/// What row `row` of a group's choices names. `past_chunks`: those before the text.
std::vector<RetrievedChunk> row_of_choice(const model::Choices& choices, int64_t row, int64_t past_chunks) {
  const auto row_of = [row](const at::Tensor& rows, at::ScalarType type) {
    return rows.select(0, 0).select(0, row).to(at::kCPU, type).contiguous();
  };
  const at::Tensor scores = row_of(choices.scores, at::kDouble);
  const at::Tensor chunks = row_of(choices.idx, at::kLong);
  const at::Tensor weights = row_of(choices.weights, at::kDouble);
  std::vector<RetrievedChunk> retrieved;
  for (int64_t slot = 0; slot < chunks.numel(); ++slot) {
    const int64_t chunk = chunks.const_data_ptr<int64_t>()[slot];
    if (chunk < 0) continue;
    retrieved.push_back(
        {chunk - past_chunks, scores.const_data_ptr<double>()[slot], weights.const_data_ptr<double>()[slot]});
  }
  std::stable_sort(retrieved.begin(), retrieved.end(),
                   [](const auto& a, const auto& b) { return a.weight > b.weight; });
  return retrieved;
}

}  // namespace

std::vector<ChunkReading> trace_retrieval(const model::LanguageModel& model, std::span<const int32_t> text,
                                          int64_t segment_positions, std::unique_ptr<model::Past> past) {
  const model::ModelConfig& config = model.config();
  model::require_chunk_memory(config, "checkpoint");
  const int64_t chunk_text = config.chunk_text_size();
  const auto text_count = static_cast<int64_t>(text.size());

  std::vector<ChunkReading> readings;
  for (int64_t first = 0; first < text_count; first += chunk_text) {
    readings.push_back({first / chunk_text, first, std::min(chunk_text, text_count - first), {}});
    readings.back().groups.resize(static_cast<size_t>(config.retrieval_groups));
  }

  model::ForwardOptions options;
  options.choices = model::ChoiceDetail::chosen;
  model::TextFeeder feeder(model, options, segment_positions);
  if (past) feeder.start_from(std::move(past));
  const int64_t past_chunks = feeder.past().position() / config.chunk_size;
  TORCH_CHECK(feeder.past().position() % config.chunk_size == 0, "the past ends within a chunk");
  feeder.feed(text, [&](const at::Tensor& hidden, int64_t number_in_all) {
    const int64_t first_text = number_in_all - past_chunks * chunk_text;
    // Landmarks of this segment: those of the chunks that it completes. Each serves the chunk after its own.
    const int64_t first_landmark = first_text / chunk_text;
    const int64_t end_landmark = (first_text + hidden.size(1)) / chunk_text;
    const std::vector<model::Choices> choices = feeder.past().choices();
    for (int64_t landmark = first_landmark; landmark < end_landmark; ++landmark) {
      if (landmark + 1 >= static_cast<int64_t>(readings.size())) break;
      auto& groups = readings[static_cast<size_t>(landmark + 1)].groups;
      for (size_t group = 0; group < groups.size(); ++group)
        groups[group] = row_of_choice(choices[group], landmark - first_landmark, past_chunks);
    }
  });
  return readings;
}

}  // namespace gca::inspect
