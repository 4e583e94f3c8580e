#include "lib/train/step/trainer.h"

#include <ATen/core/grad_mode.h>

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "kernels/common/philox.h"
#include "lib/core/error.h"
#include "lib/core/seconds_since.h"
#include "lib/train/data/batch_tensors.h"
#include "lib/train/parallel/rank_rows.h"
#include "lib/train/parallel/sharded_adamw.h"
#include "lib/train/parallel/text_part.h"
#include "lib/train/step/adamw_optimizer.h"
#include "lib/train/step/non_finite.h"

namespace gca::train {
namespace {

/// The group that reads nothing in this step, a pure function of (seed, step); -1: every group reads, and so
/// does one that is alone.
int64_t silent_group(double probability, int64_t groups, uint64_t seed, int64_t step) {
  if (groups < 2) return -1;
  const PhiloxBlock block = philox_block(seed, RandomStream::group_dropout, static_cast<uint64_t>(step), 0);
  if (probability <= open_unit_float(block.word[0])) return -1;
  return static_cast<int64_t>(block.word[1] % static_cast<uint64_t>(groups));
}

/// Noise belongs to the sequence, so cutting a batch into micro-batches and ranks does not change it.
model::ForwardOptions of_micro_batch(model::ForwardOptions options, const StepBatches& batches,
                                     size_t number) {
  options.batch_offset = static_cast<int64_t>(number) * batches.rows + batches.first_row;
  return options;
}

/// Several ranks share the moments out.
std::unique_ptr<Optimizer> make_optimizer(model::LanguageModel& model, const TrainConfig& config,
                                          parallel::Communicator* communicator) {
  if (communicator != nullptr) return std::make_unique<ShardedAdamW>(model, config, *communicator);
  return std::make_unique<AdamWOptimizer>(model.weights(), config);
}

}  // namespace

Trainer::Trainer(model::LanguageModel& model, const TrainConfig& config, BatchSource source, uint64_t seed,
                 int64_t total_steps, parallel::Communicator* communicator,
                 parallel::Communicator* text_ranks, parallel::RingScheme ring_scheme)
    : model_(model),
      config_(config),
      source_(std::move(source)),
      seed_(seed),
      schedule_(make_schedule(config, total_steps)),
      communicator_(communicator),
      text_ranks_(text_ranks),
      ring_scheme_(ring_scheme),
      optimizer_(make_optimizer(model, config, communicator)) {}

void Trainer::set_total_steps(int64_t total_steps) {
  schedule_ = make_schedule(config_, total_steps);
}

StepSettings Trainer::settings_at(int64_t step) const {
  if (phases_) {
    StepSettings settings = phases_->at(step);
    settings.model = config_with(settings.model);
    return settings;
  }
  StepSettings settings{schedule_.at(step), model_.config(), config_};
  settings.model.residual_blend = config_.residual_blend_at(step, model_.config().residual_blend);
  return settings;
}

model::ModelConfig Trainer::config_with(const model::ModelConfig& settings) const {
  model::ModelConfig config = model_.config();
  copy_changing_fields(config, model::model_config_fields(), settings);
  return config;
}

model::ModelConfig Trainer::config_after(int64_t steps) const {
  if (phases_) return config_with(phases_->kept_after(steps).model);
  return steps > 0 ? settings_at(steps - 1).model : model_.config();
}

StepBatches Trainer::step_batches(int64_t first_sequence, int64_t rows) const {
  const RankRows rank_rows = rows_of_rank(rows, communicator_, text_ranks_);
  StepBatches batches{{}, rows, rank_rows.first};
  for (int64_t i = 0; i < config_.gradient_accumulation; ++i)
    batches.own.push_back(source_.batch(first_sequence + i * rows + rank_rows.first, rank_rows.count));
  return batches;
}

model::ForwardOptions Trainer::forward_options(const StepSettings& settings, int64_t step) const {
  model::ForwardOptions options;
  options.config = std::make_shared<const model::ModelConfig>(settings.model);
  options.recompute_activations = config_.recompute_activations;
  options.draw_gumbel = config_.gumbel_noise && settings.model.gumbel_scale > 0;
  options.seed = seed_;
  options.step = static_cast<uint64_t>(step);
  options.weight_rounding = settings.train.weight_rounding;
  options.retrieval_dropout = settings.train.retrieval_dropout;
  options.bptt_segments = settings.train.bptt_segments;
  options.crossbatch_contexts = settings.train.crossbatch_contexts;
  options.crossbatch_stepping = settings.train.crossbatch_stepping;
  options.codebook_straight_through = settings.train.codebook_straight_through;
  options.commitment_weight = settings.train.commitment_weight;
  options.codebook_decay = settings.train.codebook_decay;
  options.codebook_revival = settings.train.codebook_revival;
  options.text_ranks = text_ranks_;
  options.ring_scheme = ring_scheme_;
  options.silent_group =
      silent_group(settings.train.group_dropout, settings.model.retrieval_groups, seed_, step);
  return options;
}

void Trainer::clear_gradients() {
  for (model::Weight& weight : model_.weights()) weight.master.mutable_grad() = at::Tensor();
}

double Trainer::sum_over_ranks(double value, const std::string& what) const {
  if (communicator_ == nullptr) return value;
  double sum = 0.0;
  for (const double one : communicator_->all_gather_values({&value, 1}, what)) sum += one;
  return sum;
}

void Trainer::count_all_ranks(StepResult& result) const {
  if (communicator_ == nullptr) return;
  const std::array own = {static_cast<double>(result.sequences), static_cast<double>(result.text_tokens),
                          static_cast<double>(result.target_count), result.target_bytes};
  std::array<double, own.size()> sums = {};
  const std::vector<double> all = communicator_->all_gather_values(own, "the sizes of their batches");
  for (size_t i = 0; i < all.size(); ++i) sums[i % sums.size()] += all[i];
  result.sequences = static_cast<int64_t>(sums[0]);
  result.text_tokens = static_cast<int64_t>(sums[1]);
  result.target_count = static_cast<int64_t>(sums[2]);
  result.target_bytes = sums[3];
}

StepResult Trainer::accumulate_gradients(const model::ForwardOptions& step_options,
                                         const StepBatches& batches, bool look_at_retrieval) {
  StepResult result;
  size_t last_with_targets = 0;
  for (size_t i = 0; i < batches.own.size(); ++i) {
    const data::Batch& batch = batches.own[i];
    result.sequences += batch.rows;
    result.text_tokens += batch.text_tokens;
    result.target_count += batch.target_count;
    result.target_bytes += batch.target_bytes;
    if (batch.target_count > 0) last_with_targets = i;
  }
  // Of the ranks that share their rows one counts them.
  if (text_ranks_ != nullptr && text_ranks_->rank() > 0) result = {};
  count_all_ranks(result);
  if (result.target_count == 0)
    fail_run("step " + std::to_string(step_options.step), "no sequence of its batch has a target",
             "use longer texts");

  for (size_t i = 0; i < batches.own.size(); ++i) {
    if (batches.own[i].target_count == 0) continue;
    model::ForwardOptions options = of_micro_batch(step_options, batches, i);
    const bool looks = look_at_retrieval && i == 0 && text_ranks_ == nullptr;
    if (looks) options.choices = model::ChoiceDetail::all_scores;
    const TextPart part = part_of_text(batches.own[i], *options.config, text_ranks_, ring_scheme_);
    // The mean over the step, not the mean of means: every target counts the same.
    const double share = static_cast<double>(part.target_count) / static_cast<double>(result.target_count);
    options.loss_share = share;
    options.chunk_vectors = chunk_vectors_of(batches.own[i]);
    const std::unique_ptr<model::Past> past = model_.begin(part.position);
    const at::Tensor hidden = model_.forward(part.ids, *past, options);
    if (i == last_with_targets) optimizer_->begin_last_backward();
    if (part.target_count == 0) {  // the other ranks of the text need the gradients of what they read here
      hidden.sum().mul(0).backward();
      continue;
    }
    const model::LossResult loss = model_.loss(hidden, part.targets);
    if (looks) result.retrieval = diagnose_choices(past->choices(), options.config->chunk_text_size());
    result.loss += loss.mean.item<double>() * share;
    loss.mean.mul(share).backward();
  }
  result.loss = sum_over_ranks(result.loss, "the loss");
  return result;
}

StepResult Trainer::make_step(int64_t step, int64_t first_sequence, bool look_at_retrieval) {
  for (parallel::Communicator* ranks : {communicator_, text_ranks_})
    if (ranks != nullptr)
      ranks->begin_stage("step " + std::to_string(step), "resume from the last checkpoint");
  const StepSettings settings = settings_at(step);
  model::ForwardOptions options = forward_options(settings, step);
  options.step_notes = model_.begin_step();
  clear_gradients();
  const StepBatches batches = step_batches(first_sequence, settings.train.batch);
  StepResult result = accumulate_gradients(options, batches, look_at_retrieval);
  result.residual_blend = settings.model.residual_blend;
  result.learning_rate = settings.learning_rate;
  result.gradient_norm = optimizer_->gradient_norm();
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm))
    fail_non_finite(options, batches, result);

  const bool clips = config_.gradient_clip > 0 && result.gradient_norm > config_.gradient_clip;
  const double scale = clips ? config_.gradient_clip / result.gradient_norm : 1.0;
  optimizer_->update(step, result.learning_rate, scale);
  model_.end_step(options);
  clear_gradients();
  return result;
}

double Trainer::measure_step_seconds(double at_most_seconds) {
  constexpr int kRuns = 4;
  const model::ForwardOptions options = forward_options(settings_at(0), 0);
  double total_seconds = 0.0;
  double first_seconds = 0.0;
  int runs = 0;
  while (runs < kRuns && total_seconds <= at_most_seconds) {
    const auto start = std::chrono::steady_clock::now();
    clear_gradients();
    accumulate_gradients(options, step_batches(0, config_.batch), false);
    optimizer_->gradient_norm();
    optimizer_->update(0, 0.0, 1.0);  // at learning rate 0 only the moments move
    double seconds = seconds_since(start);
    // All ranks make as many runs, by the clock of rank 0.
    if (communicator_ != nullptr) seconds = communicator_->all_gather_values({&seconds, 1}, "times").front();
    if (runs == 0) first_seconds = seconds;
    total_seconds += seconds;
    ++runs;
  }
  clear_gradients();
  optimizer_->reset();
  // The first run allocates: it counts only where it is all there is.
  return runs > 1 ? (total_seconds - first_seconds) / (runs - 1) : first_seconds;
}

std::string Trainer::way_out_of_non_finite() const {
  if (phases_) return "begin a new run from it with --init, with a lower learning_rate in --phases";
  const double lower = config_.learning_rate / 2;
  std::string way = fmt::format("go on from it with --resume --change learning_rate={}", lower);
  if (config_.min_learning_rate > lower) way += fmt::format(" --change min_learning_rate={}", lower);
  if (config_.gradient_clip == 0) way += " --change gradient_clip=1";
  return way;
}

void Trainer::fail_non_finite(const model::ForwardOptions& options, const StepBatches& batches,
                              const StepResult& result) {
  std::string culprit;
  if (const auto weight = first_non_finite_weight(model_)) {
    culprit = "weight " + *weight;
  } else {
    for (size_t i = 0; i < batches.own.size() && culprit.empty(); ++i) {
      model::ForwardOptions whole = of_micro_batch(options, batches, i);
      whole.text_ranks = nullptr;
      const auto name = first_non_finite_result(model_, batches.own[i], whole);
      if (name) culprit = *name + " (micro-batch " + std::to_string(i) + ")";
    }
    if (culprit.empty())
      if (const auto gradient = first_non_finite_gradient(model_)) culprit = "gradient of " + *gradient;
  }
  if (culprit.empty()) culprit = "the sum of squares of the gradients";
  clear_gradients();
  fail_run(fmt::format("step {}", options.step),
           fmt::format("loss {}, gradient norm {}; first non-finite tensor: {}", result.loss,
                       result.gradient_norm, culprit),
           "the last checkpoint is untouched; " + way_out_of_non_finite());
}

}  // namespace gca::train
