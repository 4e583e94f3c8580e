#include "lib/inspect/retrieval_trace.h"

#include <ATen/core/Tensor.h>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lib/core/error.h"
#include "lib/inspect/position_choices.h"
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

using Readers = std::vector<std::vector<RetrievedChunk>>;

/// Choices of landmarks: those of this segment, each of which serves the chunk after its own.
void note_landmarks(const std::vector<model::Choices>& choices, int64_t first_landmark, int64_t end_landmark,
                    int64_t past_chunks, std::vector<ChunkReading>& readings) {
  for (int64_t landmark = first_landmark; landmark < end_landmark; ++landmark) {
    if (landmark + 1 >= static_cast<int64_t>(readings.size())) break;
    Readers& readers = readings[static_cast<size_t>(landmark + 1)].readers;
    for (size_t reader = 0; reader < readers.size(); ++reader)
      readers[reader] = row_of_choice(choices[reader], landmark - first_landmark, past_chunks);
  }
}

}  // namespace

int64_t traced_chunk_tokens(const model::ModelConfig& config) {
  return model::backbone_kind(config).has_landmarks ? config.chunk_text_size() : config.chunk_size;
}

void require_choice(const model::ModelConfig& config, const std::string& where) {
  const model::BackboneKind& kind = model::backbone_kind(config);
  if (kind.choice_unit != model::ChoiceUnit::none) return;
  std::string names;
  for (const model::BackboneKind* one : model::backbone_kinds())
    if (one->choice_unit != model::ChoiceUnit::none)
      names += (names.empty() ? "" : ", ") + std::string(one->name);
  fail_usage(where,
             fmt::format("is a model with long_range \"{}\", which does not choose what it reads", kind.name),
             "give one trained with long_range " + names);
}

std::vector<std::string> reader_names(const model::ModelConfig& config) {
  std::vector<std::string> names;
  for (const model::Reader& reader : model::backbone_kind(config).readers(config))
    names.push_back(reader.layer < 0 ? fmt::format("group {}", reader.place)
                                     : fmt::format("layer {}, head {}", reader.layer, reader.place));
  return names;
}

std::vector<ChunkReading> trace_retrieval(const model::LanguageModel& model, std::span<const int32_t> text,
                                          int64_t segment_positions, std::unique_ptr<model::Past> past) {
  const model::ModelConfig& config = model.config();
  require_choice(config, "checkpoint");
  const model::BackboneKind& kind = model::backbone_kind(config);
  const size_t reader_count = kind.readers(config).size();
  const int64_t chunk_tokens = traced_chunk_tokens(config);
  const auto text_count = static_cast<int64_t>(text.size());

  std::vector<ChunkReading> readings;
  for (int64_t first = 0; first < text_count; first += chunk_tokens)
    readings.push_back(
        {first / chunk_tokens, first, std::min(chunk_tokens, text_count - first), Readers(reader_count)});

  model::ForwardOptions options;
  options.choices = model::ChoiceDetail::chosen;
  model::TextFeeder feeder(model, options, segment_positions);
  if (past) feeder.start_from(std::move(past));
  if (kind.choice_unit == model::ChoiceUnit::chunk) {
    const int64_t past_chunks = feeder.past().position() / config.chunk_size;
    TORCH_CHECK(feeder.past().position() % config.chunk_size == 0, "the past ends within a chunk");
    feeder.feed(text, [&](const at::Tensor& hidden, int64_t number_in_all) {
      const int64_t first_text = number_in_all - past_chunks * chunk_tokens;
      note_landmarks(feeder.past().choices(), first_text / chunk_tokens,
                     (first_text + hidden.size(1)) / chunk_tokens, past_chunks, readings);
    });
    return readings;
  }
  TORCH_CHECK(feeder.past().position() == 0, "where positions choose, a trace begins with the text");
  PositionChoices positions(config, text_count);
  feeder.feed(text, [&](const at::Tensor& /*hidden*/, int64_t /*first_text*/) {
    const std::vector<model::Choices> choices = feeder.past().choices();
    if (!choices.empty()) positions.add(choices, feeder.past().position() - choices.front().idx.size(1));
  });
  positions.write(readings);
  return readings;
}

}  // namespace gca::inspect
