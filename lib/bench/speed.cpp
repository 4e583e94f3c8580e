#include "lib/bench/speed.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <span>
#include <vector>

#include "lib/bench/random_text.h"
#include "lib/core/seconds_since.h"
#include "lib/generate/sampler.h"
#include "lib/model/kv_cache/kv_session.h"
#include "lib/model/text_feeder.h"
#include "lib/train/step/trainer.h"

namespace gca::bench {
namespace {

/// Median time of `run`, which is called once more at first: that one allocates.
double median_seconds(const SpeedSettings& settings, const std::function<void()>& run) {
  run();
  std::vector<double> seconds;
  for (int i = 0; i < settings.repeats; ++i) {
    if (settings.profile != nullptr) settings.profile->start();
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds.push_back(seconds_since(start));
    if (settings.profile != nullptr) settings.profile->stop();
  }
  std::sort(seconds.begin(), seconds.end());
  const size_t middle = seconds.size() / 2;
  return seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
}

/// The projection to the vocabulary, a block of rows at a time: all logits of a long text do not fit.
void score_rows(const model::LanguageModel& model, const at::Tensor& hidden) {
  constexpr int64_t kRows = 256;
  const at::NoGradGuard no_grad;
  for (int64_t row = 0; row < hidden.size(1); row += kRows)
    model.logits(hidden.narrow(1, row, std::min(kRows, hidden.size(1) - row)));
}

/// A feeder with its chunk memory where the settings say.
model::TextFeeder feeder_of(const model::LanguageModel& model, const SpeedSettings& settings) {
  model::TextFeeder feeder(model, {});
  if (settings.memory) feeder.keep_memory_at(*settings.memory);
  return feeder;
}

double projection_flops(const model::ModelConfig& config) {
  return 2.0 * static_cast<double>(config.vocab_size) * static_cast<double>(config.d_model);
}

/// A past of random text, as decoding finds it.
model::ReadText read_past(const model::LanguageModel& model, const SpeedSettings& settings) {
  const std::vector<int32_t> past = random_text(settings.seed, 0, settings.context, model.config().vocab_size,
                                                model::chunk_layout_of(model.config()));
  if (settings.kv_policy)
    return model::read_text(model, *settings.kv_policy, past, settings.question_tokens, 0,
                            [] { return false; });
  model::ReadText read{feeder_of(model, settings), {}};
  const auto skipped =
      static_cast<size_t>(read.feeder.unneeded(settings.context, std::min<int64_t>(1, settings.context)));
  read.feeder.read(std::span(past).first(skipped));
  read.feeder.feed(std::span(past).subspan(skipped),
                   [&](const at::Tensor& rows, int64_t) { read.hidden = rows; });
  return read;
}

}  // namespace

SpeedResult measure_training(model::LanguageModel& model, train::TrainConfig config,
                             const SpeedSettings& settings) {
  config.context = settings.context;
  const data::ChunkLayout layout = model::chunk_layout_of(model.config());
  train::BatchSource source;
  source.fingerprint = "random text";
  source.batch = [&](int64_t consumed, int64_t rows) {
    return random_batch(settings.seed, consumed, rows, config.context, model.config().vocab_size, layout);
  };
  const int64_t total_steps = settings.repeats + 1;
  train::Trainer trainer(model, config, source, settings.seed, total_steps);
  int64_t step = 0;

  SpeedResult result;
  result.tokens = config.sequences_per_step() * config.context;
  result.positions = config.sequences_per_step() * layout.length_of(config.context);
  result.flops = 3.0 * model.cost(config.context).forward_flops() * static_cast<double>(result.tokens);
  result.median_seconds = median_seconds(settings, [&] {
    trainer.make_step(step, step * config.sequences_per_step(), false);
    ++step;
  });
  return result;
}

SpeedResult measure_prefill(const model::LanguageModel& model, bool with_logits,
                            const SpeedSettings& settings) {
  const data::ChunkLayout layout = model::chunk_layout_of(model.config());
  const std::vector<int32_t> text =
      random_text(settings.seed, 0, settings.context, model.config().vocab_size, layout);
  SpeedResult result;
  result.tokens = settings.context;
  result.positions = layout.length_of(settings.context);
  const double per_token =
      model.cost(settings.context).forward_flops() - (with_logits ? 0.0 : projection_flops(model.config()));
  result.flops = per_token * static_cast<double>(result.tokens);
  result.median_seconds = median_seconds(settings, [&] {
    model::TextFeeder feeder = feeder_of(model, settings);
    feeder.feed(text, [&](const at::Tensor& hidden, int64_t) {
      if (with_logits) score_rows(model, hidden);
    });
  });
  return result;
}

SpeedResult measure_decoding(const model::LanguageModel& model, const SpeedSettings& settings) {
  const data::ChunkLayout layout = model::chunk_layout_of(model.config());
  std::vector<uint8_t> allowed(static_cast<size_t>(model.config().vocab_size), 1);
  if (layout.has_landmarks()) allowed[static_cast<size_t>(layout.landmark_id)] = 0;
  const generate::SamplingOptions greedy{.temperature = 0.0};
  generate::TokenSampler sampler;
  model::ReadText past = read_past(model, settings);
  model::KvCache* cache = settings.kv_policy ? past.feeder.past().kv_cache() : nullptr;

  SpeedResult result;
  result.state_bytes = past.feeder.past().size_bytes();
  result.tokens = settings.decoded_tokens;
  result.positions = layout.length_of(settings.context + result.tokens) - layout.length_of(settings.context);
  result.flops = model.cost(settings.context).forward_flops() * static_cast<double>(result.tokens);
  result.median_seconds = median_seconds(settings, [&] {
    const at::NoGradGuard no_grad;
    if (cache != nullptr) cache->reset_reads();
    for (int64_t n = 0; n < result.tokens; ++n) {
      const at::Tensor row =
          model.logits(past.hidden.select(1, past.hidden.size(1) - 1)).to(at::kCPU, at::kFloat).contiguous();
      const std::span<const float> logits(row.const_data_ptr<float>(), static_cast<size_t>(row.numel()));
      const auto token = static_cast<int32_t>(sampler.draw(logits, allowed, greedy, 0.5));
      past.feeder.feed({&token, 1}, [&](const at::Tensor& rows, int64_t) { past.hidden = rows; });
    }
  });
  if (cache == nullptr) {
    result.bytes = model.decoding_bytes_per_token(settings.context) * static_cast<double>(result.tokens);
  } else {
    result.kv_reads = cache->reads();
    result.kv_cache_bytes = cache->size_bytes();
    result.bytes =
        model.decoding_bytes_per_token(0) * static_cast<double>(result.tokens) + cache->reads().bytes;
  }
  return result;
}

}  // namespace gca::bench
