#include "lib/inspect/retrieval_trace.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "lib/core/error.h"
#include "lib/model/text_feeder.h"

namespace gca {
namespace {

/// The results of one segment by name: "score.g", "idx.g" and "w.g" (1, R, K), a row a landmark of the
/// segment.
using Observed = std::map<std::string, at::Tensor>;

/// `past_chunks`: those before the text.
std::vector<RetrievedChunk> row_of_choice(const Observed& observed, const std::string& group, int64_t row,
                                          int64_t past_chunks) {
  const at::Tensor scores =
      observed.at("score." + group).select(0, 0).select(0, row).to(at::kCPU, at::kDouble).contiguous();
  const at::Tensor chunks =
      observed.at("idx." + group).select(0, 0).select(0, row).to(at::kCPU, at::kLong).contiguous();
  const at::Tensor weights =
      observed.at("w." + group).select(0, 0).select(0, row).to(at::kCPU, at::kDouble).contiguous();
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

std::vector<ChunkReading> trace_retrieval(const LanguageModel& model, std::span<const int32_t> text,
                                          int64_t segment_positions, DrtState past) {
  const ModelConfig& config = model.config();
  if (!config.uses_retrieval())
    fail_usage("checkpoint", "is a sliding-window model that retrieves nothing",
               "give one with long_range \"gca\"");
  const int64_t chunk_text = config.chunk_text_size();
  const auto text_count = static_cast<int64_t>(text.size());

  std::vector<ChunkReading> readings;
  for (int64_t first = 0; first < text_count; first += chunk_text) {
    readings.push_back({first / chunk_text, first, std::min(chunk_text, text_count - first), {}});
    readings.back().groups.resize(static_cast<size_t>(config.retrieval_groups));
  }

  Observed observed;
  ForwardOptions options;
  options.observe_all_scores = false;
  options.observe = [&](const std::string& name, const at::Tensor& value) {
    if (name.starts_with("score.") || name.starts_with("idx.") || name.starts_with("w."))
      observed[name] = value;
  };
  TextFeeder feeder(model, options, segment_positions);
  const int64_t past_chunks = past.position / config.chunk_size;
  TORCH_CHECK(past.position % config.chunk_size == 0, "the past ends within a chunk");
  if (past.position > 0) feeder.start_from(std::move(past));
  feeder.feed(text, [&](const at::Tensor& hidden, int64_t number_in_all) {
    const int64_t first_text = number_in_all - past_chunks * chunk_text;
    // Landmarks of this segment: those of the chunks that it completes. Each serves the chunk after its own.
    const int64_t first_landmark = first_text / chunk_text;
    const int64_t end_landmark = (first_text + hidden.size(1)) / chunk_text;
    for (int64_t landmark = first_landmark; landmark < end_landmark; ++landmark) {
      if (landmark + 1 >= static_cast<int64_t>(readings.size())) break;
      auto& groups = readings[static_cast<size_t>(landmark + 1)].groups;
      for (size_t group = 0; group < groups.size(); ++group)
        groups[group] =
            row_of_choice(observed, std::to_string(group), landmark - first_landmark, past_chunks);
    }
    observed.clear();
  });
  return readings;
}

}  // namespace gca
