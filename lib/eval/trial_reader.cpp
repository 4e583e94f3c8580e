#include "lib/eval/trial_reader.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/tensor.h>

#include <limits>
#include <vector>

namespace gca::eval {
namespace {

/// Best first, without the empty slots.
std::vector<int64_t> chosen_chunks(const model::Choices& choices) {
  const at::Tensor idx = choices.idx.to(at::kCPU, at::kLong).contiguous();
  std::vector<int64_t> chunks(idx.const_data_ptr<int64_t>(), idx.const_data_ptr<int64_t>() + idx.numel());
  std::erase(chunks, -1);
  return chunks;
}

/// (V) 0 where an id may be generated, minus infinity elsewhere.
at::Tensor penalty_of(std::span<const uint8_t> allowed) {
  std::vector<float> penalty;
  for (const uint8_t is_allowed : allowed)
    penalty.push_back(is_allowed != 0 ? 0.0F : -std::numeric_limits<float>::infinity());
  return at::tensor(penalty);
}

/// The most probable id for each token of the answer: one pass over what stands before them.
std::vector<int32_t> predict_answer(const model::LanguageModel& model, model::TextFeeder& feeder,
                                    const tasks::Trial& trial, const data::Haystack& haystack,
                                    const at::Tensor& penalty) {
  const EditedText text{trial.haystack_first, trial.edits};
  const auto answer_tokens = static_cast<int64_t>(trial.answer.size());
  const int64_t end = trial.first_answer - 1 + answer_tokens;
  std::vector<int32_t> predicted;
  feeder.feed(text.read(haystack, trial.read_tokens, end - trial.read_tokens),
              [&](const at::Tensor& hidden, int64_t) {
                const at::Tensor best =
                    (model.logits(hidden.select(0, 0)).to(at::kCPU) + penalty).argmax(-1).contiguous();
                const auto* ids = best.const_data_ptr<int64_t>();
                for (int64_t i = 0; i < best.numel(); ++i) predicted.push_back(static_cast<int32_t>(ids[i]));
              });
  return {predicted.end() - answer_tokens, predicted.end()};
}

}  // namespace

PrefilledTrialReader::PrefilledTrialReader(const model::LanguageModel& model, const data::Haystack& haystack,
                                           PrefilledText& prefill, std::span<const uint8_t> allowed)
    : model_(model), haystack_(haystack), prefill_(prefill), penalty_(penalty_of(allowed)) {}

tasks::TrialReading PrefilledTrialReader::read(const tasks::Trial& trial) {
  const at::NoGradGuard no_grad;
  model::TextFeeder feeder = prefill_.prefill({trial.haystack_first, trial.edits}, trial.read_tokens);
  tasks::TrialReading reading;
  for (const model::Choices& group : feeder.past().choices())
    reading.retrieved.push_back(chosen_chunks(group));
  if (!trial.answer.empty()) reading.predicted = predict_answer(model_, feeder, trial, haystack_, penalty_);
  return reading;
}

PolicyTrialReader::PolicyTrialReader(const data::Haystack& haystack, PolicyReader& reader,
                                     std::span<const uint8_t> allowed)
    : haystack_(haystack), reader_(reader), penalty_(penalty_of(allowed)) {}

tasks::TrialReading PolicyTrialReader::read(const tasks::Trial& trial) {
  const EditedText text{trial.haystack_first, trial.edits};
  tasks::TrialReading reading;
  reader_.read(
      text.read(haystack_, 0, trial.first_answer), trial.question_tokens, trial.answer,
      [&](const at::Tensor& logits) {
        reading.predicted.push_back(static_cast<int32_t>((logits + penalty_).argmax(-1).item<int64_t>()));
      });
  return reading;
}

}  // namespace gca::eval
