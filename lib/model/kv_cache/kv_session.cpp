#include "lib/model/kv_cache/kv_session.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/model/kv_cache/citrus_reading.h"
#include "lib/model/kv_cache/make_kv_cache.h"

namespace gca::model {
namespace {

/// A first prompt: later ones follow what was kept.
at::Tensor read_by_citrus(const LanguageModel& model, TextFeeder& feeder, CitrusCache& cache,
                          std::span<const int32_t> prompt, int64_t instruction_tokens) {
  const auto context = prompt.first(prompt.size() - static_cast<size_t>(instruction_tokens));
  std::unique_ptr<Past> past = feeder.take_past();
  const CitrusReading reading(model, *past, cache, prompt.subspan(context.size()));
  reading.read_context(context);
  reading.choose();
  const at::Tensor hidden = reading.read_instruction();
  feeder.start_from(std::move(past));
  return hidden;
}

}  // namespace

std::unique_ptr<Past> begin_with_policy(const LanguageModel& model, const KvPolicy& policy,
                                        int64_t position) {
  std::unique_ptr<Past> past = model.begin(position);
  if (policy.is_plain()) return past;
  if (past->kv_cache() == nullptr)
    fail_usage(policy.name == "full" ? "--kv-dtype int8" : "--kv-policy " + policy.name,
               "this model has no cache of the whole text",
               "give a model with self_attention full, or leave it out");
  past->keep_keys_in(
      make_kv_cache(model.config(), policy, model.compute_dtype() == at::kDouble ? at::kDouble : at::kFloat));
  return past;
}

std::unique_ptr<Past> begin_past(const LanguageModel& model, const MemoryPlace& place, const KvPolicy& policy,
                                 int64_t position) {
  return policy.is_plain() ? begin_with_memory_at(model, place, position)
                           : begin_with_policy(model, policy, position);
}

void read_prefix(const LanguageModel& model, std::unique_ptr<Past>& past, std::span<const int32_t> prefix,
                 int64_t segment_positions) {
  past->kv_cache()->begin_part(TextPart::prefix);
  TextFeeder feeder(model, {}, segment_positions);
  feeder.start_from(std::move(past));
  feeder.feed(prefix, [](const at::Tensor&, int64_t) {});
  past = feeder.take_past();
  past->kv_cache()->begin_part(TextPart::prompt);
}

at::Tensor read_prompt(const LanguageModel& model, TextFeeder& feeder, std::span<const int32_t> prompt,
                       int64_t instruction_tokens, const std::function<bool()>& interrupted) {
  KvCache& cache = *feeder.past().kv_cache();
  auto* citrus = dynamic_cast<CitrusCache*>(&cache);
  if (citrus != nullptr && feeder.past().position() == 0) {
    if (instruction_tokens < 1 || instruction_tokens > static_cast<int64_t>(prompt.size()))
      fail_usage("--instruction-tokens",
                 fmt::format("{} of a prompt of {}", instruction_tokens, prompt.size()),
                 "give at least 1, and no more than the prompt has");
    return read_by_citrus(model, feeder, *citrus, prompt, instruction_tokens);
  }
  cache.begin_part(TextPart::prompt);
  at::Tensor last;
  while (!prompt.empty() && !interrupted()) {
    const auto segment = prompt.first(std::min(static_cast<size_t>(feeder.room()), prompt.size()));
    prompt = prompt.subspan(segment.size());
    feeder.feed(segment,
                [&](const at::Tensor& hidden, int64_t) { last = hidden.narrow(1, hidden.size(1) - 1, 1); });
  }
  cache.begin_part(TextPart::answer);
  return last;
}

ReadText read_text(const LanguageModel& model, const KvPolicy& policy, std::span<const int32_t> text,
                   int64_t question_tokens, int64_t segment_positions,
                   const std::function<bool()>& interrupted) {
  std::unique_ptr<Past> past = begin_with_policy(model, policy);
  const size_t before = text.size() - static_cast<size_t>(question_tokens);
  const bool has_prefix = policy.name == "squeezed" && before > 0;
  if (has_prefix) read_prefix(model, past, text.first(before), segment_positions);
  ReadText read{TextFeeder(model, {}, segment_positions), {}};
  read.feeder.start_from(std::move(past));
  read.hidden =
      read_prompt(model, read.feeder, has_prefix ? text.subspan(before) : text, question_tokens, interrupted);
  return read;
}

}  // namespace gca::model
