#include "lib/generate/generator.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "kernels/common/philox.h"
#include "lib/core/error.h"
#include "lib/core/seconds_since.h"
#include "lib/generate/text_stream.h"
#include "lib/model/kv_cache/kv_session.h"
#include "lib/model/text_feeder.h"
#include "lib/profile/operator_profile.h"

namespace gca::generate {
namespace {

/// Logits (V) after the last position of hidden (1, m, d), on the CPU.
at::Tensor last_logits(const model::LanguageModel& model, const at::Tensor& hidden) {
  const at::NoGradGuard no_grad;
  return model.logits(hidden.select(1, hidden.size(1) - 1)).to(at::kCPU, at::kFloat).contiguous();
}

/// The chunks that a text has read so far.
class RetrievedChunks {
 public:
  /// What the position after `past` reads: the choice made at the last landmark.
  void note(const model::Past& past) {
    for (const model::Choices& choices : past.choices()) {
      const at::Tensor idx =
          choices.idx.select(1, choices.idx.size(1) - 1).to(at::kCPU, at::kInt).contiguous();
      for (const int32_t chunk : std::span(idx.const_data_ptr<int32_t>(), static_cast<size_t>(idx.numel())))
        if (chunk >= 0) chunks_.insert(chunk);
    }
  }
  int64_t count() const { return static_cast<int64_t>(chunks_.size()); }

 private:
  std::set<int32_t> chunks_;
};

}  // namespace

Generation generate(const model::TextModel& model, std::span<const int32_t> prompt,
                    const GenerationOptions& options, TextSession& session,
                    const std::function<void(const std::string&)>& show,
                    const std::function<bool()>& interrupted) {
  if (prompt.empty() && !session.last_hidden.defined())
    fail_usage("prompt", "is empty", "give at least one character to continue");
  std::vector<uint8_t> allowed = model.text_ids();
  const std::set<int32_t> end_tokens = [&] {
    std::set<int32_t> ids(model.end_tokens.begin(), model.end_tokens.end());
    if (model.end_token >= 0) ids.insert(model.end_token);
    return ids;
  }();
  for (const int32_t id : end_tokens) allowed[static_cast<size_t>(id)] = 1;
  model::TextFeeder feeder(model.model, {}, options.segment_positions);
  if (session.past) feeder.start_from(std::move(session.past));
  TextStream stream(options.stop_texts);
  RetrievedChunks retrieved;
  TokenSampler sampler;
  Generation result;

  at::Tensor hidden = session.last_hidden;  // of the last segment fed
  const auto feed = [&](std::span<const int32_t> tokens) {
    feeder.feed(tokens, [&](const at::Tensor& rows, int64_t) { hidden = rows; });
  };

  const auto prefill_start = std::chrono::steady_clock::now();
  if (options.prefill_profile != nullptr) options.prefill_profile->start();
  std::span<const int32_t> rest = prompt;
  const auto next_segment = [&](size_t most) {
    const auto segment = rest.first(std::min(static_cast<size_t>(feeder.room()), most));
    rest = rest.subspan(segment.size());
    return segment;
  };
  if (feeder.past().kv_cache() != nullptr && !rest.empty()) {
    hidden = model::read_prompt(model.model, feeder, rest, options.instruction_tokens, interrupted);
    rest = {};
  }
  const auto unneeded =
      static_cast<size_t>(rest.empty() ? 0 : feeder.unneeded(static_cast<int64_t>(prompt.size()), 1));
  if (unneeded > 0) hidden = at::Tensor();
  while (prompt.size() - rest.size() < unneeded && !interrupted())
    feeder.read(next_segment(unneeded - (prompt.size() - rest.size())));
  // A session that ends early must end as the text up to there would: the upper layers need their reach.
  const bool ends_early = options.keeps_session && prompt.size() - rest.size() < unneeded;
  if (ends_early)
    rest = rest.first(
        std::min(rest.size(), static_cast<size_t>(model::reach_of(model.model.config()).upper + 1)));
  while (!rest.empty() && (ends_early || !interrupted())) feed(next_segment(rest.size()));
  if (options.prefill_profile != nullptr) options.prefill_profile->stop();
  result.prefill_seconds = seconds_since(prefill_start);

  const auto decode_start = std::chrono::steady_clock::now();
  if (options.decode_profile != nullptr) options.decode_profile->start();
  for (int64_t n = 0; n < options.max_new_tokens && !stream.stopped() && !result.ended && !interrupted();
       ++n) {
    if (n > 0) feed({&result.tokens.back(), 1});
    retrieved.note(feeder.past());
    const double uniform = open_unit_double(
        philox_block(options.seed, RandomStream::sampling, 0, static_cast<uint64_t>(session.drawn_tokens++)));
    const at::Tensor logits = last_logits(model.model, hidden);
    const std::span<const float> row(logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel()));
    const auto token = static_cast<int32_t>(sampler.draw(row, allowed, options.sampling, uniform));
    result.tokens.push_back(token);
    result.ended = end_tokens.contains(token);
    if (n == 0) result.first_token_seconds = seconds_since(prefill_start);
    if (const std::string text = stream.append(model.tokenizer.decode({&token, 1})); !text.empty())
      show(text);
  }
  if (options.decode_profile != nullptr) options.decode_profile->stop();
  result.decode_seconds = seconds_since(decode_start);

  if (const std::string held = stream.finish(); !held.empty()) show(held);
  result.text = stream.text();
  result.stopped = stream.stopped();
  result.chunks_retrieved = retrieved.count();
  if (options.keeps_session && !result.tokens.empty()) feed({&result.tokens.back(), 1});
  result.memory_bytes = feeder.memory_bytes();
  session.past = feeder.take_past();
  session.last_hidden = hidden.defined() ? hidden.narrow(1, hidden.size(1) - 1, 1).clone() : at::Tensor();
  return result;
}

}  // namespace gca::generate
