#include "lib/train/step/step_probe.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <memory>

#include "lib/data/chunk_layout.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/text_feeder.h"
#include "lib/train/data/batch_tensors.h"
#include "lib/train/step/allocation_watch.h"
#include "lib/train/step/trainer.h"

namespace gca::train {
namespace {

/// One sequence of T text tokens that means nothing.
data::Batch meaningless_batch(const model::LanguageModel& model, int64_t T) {
  const data::ChunkLayout layout = model::chunk_layout_of(model.config());
  const int64_t ids = model.config().vocab_size;
  std::vector<int32_t> text(static_cast<size_t>(T));
  for (size_t i = 0; i < text.size(); ++i) {
    const int64_t id = static_cast<int64_t>(i) * 7919 % ids;
    text[i] = static_cast<int32_t>(id == layout.landmark_id ? (id + 1) % ids : id);
  }
  data::LaidOutText laid_out = data::lay_out(text, data::kNoTarget, layout);
  data::Batch batch;
  batch.rows = 1;
  batch.length = static_cast<int64_t>(laid_out.ids.size());
  batch.ids = std::move(laid_out.ids);
  batch.targets = std::move(laid_out.targets);
  batch.text_tokens = T;
  if (model::chooses_by_vectors(model.config())) {
    batch.chunks = batch.length / layout.chunk_size;
    batch.vector_size = 1;
    batch.chunk_vectors.assign(static_cast<size_t>(batch.chunks), 1.0F);
  }
  batch.target_count = batch.length - std::count(batch.targets.begin(), batch.targets.end(), data::kNoTarget);
  return batch;
}

/// Peak of a forward and backward pass, its gradients left out: they are there before it.
int64_t measure_bytes(const model::LanguageModel& model, const TrainConfig& config,
                      const data::Batch& batch) {
  const auto [ids, targets] = to_tensors(batch);
  model::ForwardOptions options;
  options.chunk_vectors = chunk_vectors_of(batch);
  options.recompute_activations = config.recompute_activations;
  options.bptt_segments = config.bptt_segments;
  options.crossbatch_contexts = config.crossbatch_contexts;
  options.crossbatch_stepping = config.crossbatch_stepping;
  options.codebook_straight_through = config.codebook_straight_through;
  options.draw_gumbel = config.gumbel_noise && model.config().gumbel_scale > 0;
  const auto watch = std::make_shared<AllocationWatch>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, watch);
  const std::unique_ptr<model::Past> past = model.begin();
  model.loss(model.forward(ids, *past, options), targets).mean.backward();
  return watch->peak_bytes();
}

struct Line {
  double at_zero = 0;
  double slope = 0;
};

/// Through two points; where it would begin below 0, through the origin and the second.
Line line_through(double x1, double y1, double x2, double y2) {
  if (x2 <= x1 || x2 * y1 - x1 * y2 <= 0 || y2 <= y1) return {0, y2 / x2};
  const double slope = (y2 - y1) / (x2 - x1);
  return {y1 - slope * x1, slope};
}

/// Seconds of a whole step on one sequence of T text tokens.
double measure_seconds(model::LanguageModel& model, TrainConfig config, int64_t T, double at_most_seconds) {
  config.batch = 1;
  config.gradient_accumulation = 1;
  const data::Batch batch = meaningless_batch(model, T);
  const BatchSource source = {[&](int64_t, int64_t) { return batch; }, ""};
  return Trainer(model, config, source, 0, 1).measure_step_seconds(at_most_seconds);
}

}  // namespace

StepProbe probe_step(model::LanguageModel& model, const TrainConfig& config, double at_most_seconds) {
  // Chunks enough that some are read, and a text that fills the tiles of the kernels.
  const int64_t longest = std::max<int64_t>(256, 4 * model.config().chunk_text_size());
  const int64_t longer = std::max<int64_t>(2, std::min(config.context, longest));
  const int64_t shorter = std::max<int64_t>(1, longer / 2);

  for (model::Weight& weight : model.weights()) {
    const at::NoGradGuard no_grad;
    weight.master.mutable_grad() = at::zeros_like(weight.master);
  }
  const data::Batch short_batch = meaningless_batch(model, shorter);
  const data::Batch long_batch = meaningless_batch(model, longer);
  const auto short_bytes = static_cast<double>(measure_bytes(model, config, short_batch));
  const auto long_bytes = static_cast<double>(measure_bytes(model, config, long_batch));
  for (model::Weight& weight : model.weights()) weight.master.mutable_grad() = at::Tensor();
  const Line bytes = line_through(static_cast<double>(short_batch.length), short_bytes,
                                  static_cast<double>(long_batch.length), long_bytes);
  StepProbe probe;
  probe.fixed_bytes = bytes.at_zero;
  probe.bytes_per_position = bytes.slope;
  if (at_most_seconds <= 0) return probe;

  const auto step_flops = [&](int64_t T) {
    return 3.0 * model.cost(T).forward_flops() * static_cast<double>(T);
  };
  int64_t length = longer;
  double before = measure_seconds(model, config, shorter, 0.1 * at_most_seconds);
  double now = measure_seconds(model, config, length, 0.1 * at_most_seconds);
  int64_t before_length = shorter;
  while (now < 0.1 * at_most_seconds && 2 * length <= config.context) {
    before = now;
    before_length = length;
    length *= 2;
    now = measure_seconds(model, config, length, 0.2 * at_most_seconds);
  }
  const Line seconds = line_through(step_flops(before_length), before, step_flops(length), now);
  probe.fixed_seconds = seconds.at_zero;
  probe.seconds_per_flop = seconds.slope;
  return probe;
}

}  // namespace gca::train
