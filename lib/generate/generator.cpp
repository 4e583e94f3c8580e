#include "lib/generate/generator.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "kernels/common/philox.h"
#include "lib/core/error.h"
#include "lib/generate/text_stream.h"
#include "lib/model/text_feeder.h"

namespace gca {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Logits (V) after the last position of hidden (1, m, d), on the CPU.
at::Tensor last_logits(const Drt& model, const at::Tensor& hidden) {
  const at::NoGradGuard no_grad;
  return model.logits(hidden.select(1, hidden.size(1) - 1)).to(at::kCPU, at::kFloat).contiguous();
}

}  // namespace

Generation generate(const TextModel& model, std::span<const int32_t> prompt, const GenerationOptions& options,
                    TextSession& session, const std::function<void(const std::string&)>& show,
                    const std::function<bool()>& interrupted) {
  if (prompt.empty() && !session.last_hidden.defined())
    fail_usage("prompt", "is empty", "give at least one character to continue");
  const std::vector<uint8_t> allowed = model.text_ids();
  TextFeeder feeder(model.model, {}, options.segment_positions);
  feeder.start_from(std::move(session.state));
  TextStream stream(options.stop_text);
  TokenSampler sampler;
  Generation result;

  at::Tensor hidden = session.last_hidden;  // of the last segment fed
  const auto feed = [&](std::span<const int32_t> tokens) {
    feeder.feed(tokens, [&](const at::Tensor& rows, int64_t) { hidden = rows; });
  };

  const auto prefill_start = std::chrono::steady_clock::now();
  for (auto rest = prompt; !rest.empty() && !interrupted();) {
    const auto segment = rest.first(std::min(static_cast<size_t>(feeder.room()), rest.size()));
    feed(segment);
    rest = rest.subspan(segment.size());
  }
  result.prefill_seconds = seconds_since(prefill_start);

  const auto decode_start = std::chrono::steady_clock::now();
  for (int64_t n = 0; n < options.max_new_tokens && !stream.stopped() && !interrupted(); ++n) {
    if (n > 0) feed({&result.tokens.back(), 1});
    const double uniform = open_unit_double(
        philox_block(options.seed, RandomStream::sampling, 0, static_cast<uint64_t>(session.drawn_tokens++)));
    const at::Tensor logits = last_logits(model.model, hidden);
    const std::span<const float> row(logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel()));
    const auto token = static_cast<int32_t>(sampler.draw(row, allowed, options.sampling, uniform));
    result.tokens.push_back(token);
    if (const std::string text = stream.append(model.tokenizer.decode({&token, 1})); !text.empty())
      show(text);
  }
  result.decode_seconds = seconds_since(decode_start);

  if (const std::string rest = stream.finish(); !rest.empty()) show(rest);
  result.text = stream.text();
  result.stopped = stream.stopped();
  if (options.keeps_session && !result.tokens.empty()) feed({&result.tokens.back(), 1});
  result.memory_bytes = feeder.memory_bytes();
  session.state = feeder.take_state();
  if (hidden.defined()) session.last_hidden = hidden.narrow(1, hidden.size(1) - 1, 1).clone();
  return result;
}

}  // namespace gca
