#include "lib/train/step/run_estimate.h"

#include <fmt/format.h>
#include <algorithm>

#include "lib/core/error.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/model_cost.h"
#include "lib/model/text_feeder.h"

namespace gca::train {
namespace {

constexpr double kMasterBytes = 4;   // fp32
constexpr double kMomentsBytes = 8;  // two of them

// What no tensor tells, measured here on presets nano to small: the libraries' own tables and threads once
// they compute, and freed blocks that the allocator finds no use for, by the size of the activations.
constexpr double kRuntimeBytes = 90.0 * (1 << 20);
constexpr double kUnusedPart = 0.1;

const char* const kActivations = "activations";
const char* const kGatheredCache = "gathered keys and values";
const char* const kGatheredChunks = "gathered chunks";

double obtainable_bytes() {
  return static_cast<double>(available_memory_bytes() + resident_memory_bytes());
}

/// What one sequence of a batch takes: the activations grow with the text.
double sequence_bytes(const MemoryEstimate& estimate, const TrainConfig& config) {
  double bytes = 0;
  for (const EstimatedPart& part : estimate.parts) {
    if (part.name == kActivations) bytes += (1 + kUnusedPart) * part.size_bytes;
    if (part.name == kGatheredCache || part.name == kGatheredChunks) bytes += part.size_bytes;
  }
  return bytes / static_cast<double>(config.batch);
}

/// What lib/model/layers/ring_attention.cpp holds of the keys and values of all `ranks` beside those of the own `length`
/// positions of `rows` rows: in every layer until its backward pass, where they are not computed again; in the layer that
/// is passed backward, their gradients on the way to the ranks that they belong to.
double gathered_cache_bytes(const model::LanguageModel& model, int64_t rows, int64_t length, int64_t ranks,
                            bool recomputes) {
  const model::ModelConfig& config = model.config();
  const auto element = static_cast<double>(c10::elementSize(model.compute_dtype()));
  const auto layers = static_cast<double>(recomputes ? 1 : config.n_lower_layers + config.n_upper_layers);
  // Keys and values of a position, in numbers.
  const auto each = static_cast<double>(2 * rows * config.n_kv_heads * config.head_dim());
  const auto own = static_cast<double>(length);
  const double all = own * static_cast<double>(ranks);
  // Each of the rank's two slices reads what lies before its end; of several rows that is a copy.
  const double read = rows > 1 ? all + own / 2 : all;
  // In the type of the keys, then as the float32 that is sent, of several rows by way of a copy, and received.
  const double as_sum = rows > 1 ? 12 : 8;
  const double gradients = all * std::max(3 * element, element + as_sum);
  return each * (layers * element * (read - own) + gradients);
}

/// What lib/model/backbones/gca/gca_backbone.cpp holds of the chunk memory of all `ranks` beside that of the own `length`
/// positions of `rows` rows, and the scores of the own landmarks with all. `activations` are those of the own positions, in
/// bytes.
double gathered_chunk_bytes(const model::LanguageModel& model, int64_t rows, int64_t length, int64_t ranks,
                            double activations) {
  const model::ModelConfig& config = model.config();
  const auto element = static_cast<double>(c10::elementSize(model.compute_dtype()));
  const int64_t S = config.chunk_size;
  // Of a chunk, in numbers.
  const auto keys_and_values =
      static_cast<double>(2 * rows * (S - 1) * config.n_kv_heads * config.head_dim());
  const auto landmark = static_cast<double>(rows * config.d_model);
  const int64_t own_chunks = length / S;
  const auto own = static_cast<double>(own_chunks);
  const double all = own * static_cast<double>(ranks);
  const double kept = (all - own) * (keys_and_values * element + landmark * sizeof(float));
  // While the upper layers are passed backward, gradients in the type of the keys. After that, with the activations of these
  // layers gone, keys or values beside them as the float32 that is sent, of several rows by way of a copy, and received.
  const double as_sum = (element < sizeof(float) ? 2 : 0) + (rows > 1 ? 4 : 2);
  const double upper_part = static_cast<double>(config.n_upper_layers) /
                            static_cast<double>(config.n_lower_layers + config.n_upper_layers);
  const double gradients = std::max(all * keys_and_values * element,
                                    all * keys_and_values * (element + as_sum) - upper_part * activations);
  // The scores and, in backward, their gradient; in each group of layers until then.
  const auto groups = static_cast<double>(config.retrieval_groups);
  const double scores = (groups + 1) * static_cast<double>(rows) * own * (all - own) * sizeof(float);
  return kept + gradients + scores;
}

}  // namespace

double MemoryEstimate::total_bytes() const {
  double total = 0;
  for (const EstimatedPart& part : parts) total += part.size_bytes;
  return total;
}

void require_memory_for_weights(const model::ModelConfig& config, const std::string& dtype,
                                const std::string& where, int64_t ranks) {
  const double each =
      2 * kMasterBytes + kMomentsBytes / static_cast<double>(ranks) + (dtype == "bf16" ? 2 : 0);
  const double needed = model::parameter_count(config) * each;
  const double obtainable = obtainable_bytes();
  if (needed <= obtainable) return;
  fail_usage(where,
             fmt::format("{:.3g} parameters take {} with gradients and moments, {} are free",
                         model::parameter_count(config), memory_text(needed), memory_text(obtainable)),
             "choose smaller sizes, or free memory");
}

MemoryEstimate estimate_memory(const model::LanguageModel& model, const TrainConfig& config,
                               const StepProbe& probe, double program_bytes, int64_t ranks,
                               int64_t gathering_ranks) {
  double masters = 0;
  double copies = 0;
  for (const model::Weight& weight : model.weights()) {
    masters += static_cast<double>(weight.master.nbytes());
    if (!weight.compute.is_same(weight.master)) copies += static_cast<double>(weight.compute.nbytes());
  }
  const double positions =
      static_cast<double>(config.batch) *
      static_cast<double>(model::chunk_layout_of(model.config()).length_of(config.context));
  MemoryEstimate estimate;
  const double activations = probe.bytes_per_position * positions;
  estimate.parts = {{"program", program_bytes + kRuntimeBytes},
                    {"weights", masters},
                    {"compute copies", copies},
                    {"gradients", masters},
                    {"moments", masters / kMasterBytes * kMomentsBytes / static_cast<double>(ranks)},
                    {kActivations, activations},
                    {"workspace", probe.fixed_bytes},
                    {"allocator", kUnusedPart * activations}};
  if (gathering_ranks > 1) {
    const int64_t length = model::chunk_layout_of(model.config()).length_of(config.context);
    if (model::backbone_kind(model.config()).keeps_chunk_memory)
      estimate.parts.push_back(
          {kGatheredChunks, gathered_chunk_bytes(model, config.batch, length, gathering_ranks, activations)});
    else
      estimate.parts.push_back(
          {kGatheredCache,
           gathered_cache_bytes(model, config.batch, length, gathering_ranks, config.recompute_activations)});
  }
  estimate.available_bytes = obtainable_bytes();
  return estimate;
}

void require_memory_for_batch(const MemoryEstimate& estimate, const TrainConfig& config,
                              const std::string& where) {
  const double total = estimate.total_bytes();
  if (total <= estimate.available_bytes) return;
  const double each = sequence_bytes(estimate, config);
  const double rest = total - each * static_cast<double>(config.batch);
  const auto fitting = static_cast<int64_t>(std::max(0.0, (estimate.available_bytes - rest) / each));
  const std::string remedy =
      fitting >= 1
          ? fmt::format("a batch of {} fits; gradient_accumulation makes the step as large again", fitting)
      : config.recompute_activations
          ? "no batch fits, not even one sequence: choose a shorter context or a smaller model"
          : "no batch fits, not even one sequence: try --set recompute_activations=true";
  fail_usage(
      where,
      fmt::format("a step with batch {} of {} tokens takes about {} of memory, {} are free", config.batch,
                  config.context, memory_text(total), memory_text(estimate.available_bytes)),
      remedy);
}

double estimate_step_seconds(const model::LanguageModel& model, const TrainConfig& config,
                             const StepProbe& probe) {
  const double tokens =
      static_cast<double>(config.sequences_per_step()) * static_cast<double>(config.context);
  const double flops = 3.0 * model.cost(config.context).forward_flops() * tokens;
  return probe.fixed_seconds + flops * probe.seconds_per_flop;
}

double estimate_validation_seconds(const model::LanguageModel& model, const TrainConfig& config,
                                   const StepProbe& probe, int64_t sequences) {
  const double tokens = static_cast<double>(sequences) * static_cast<double>(config.context);
  return model.cost(config.context).forward_flops() * tokens * probe.seconds_per_flop;
}

double checkpoint_size_bytes(const model::LanguageModel& model) {
  return static_cast<double>(model.parameter_count()) * (kMasterBytes + kMomentsBytes);
}

}  // namespace gca::train
