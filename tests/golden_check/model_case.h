#pragma once
// Golden cases of the whole model.

#include "lib/data/chunk_layout.h"
#include "lib/model/language_model.h"
#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

/// The model's configuration from the oracle's (metadata entry "config").
model::ModelConfig model_config_of(const GoldenFile& golden);

/// Gives `model` the weights of the case; those of a `jitter` above 0 as run_model_case() says.
void set_weights(model::LanguageModel& model, const GoldenFile& golden, uint64_t jitter);
/// Multiplies every weight as run_model_case() says of a `jitter`.
void jitter_weights(model::LanguageModel& model, uint64_t jitter);

/// Ids and targets (B, L) of the case's text, landmarks put in.
struct CaseBatch {
  at::Tensor ids;
  at::Tensor targets;
};
CaseBatch batch_of(const GoldenFile& golden, const data::ChunkLayout& layout);

/// Stores "logits", "token_loss" and "loss" of a run of T text tokens, under names that begin with `prefix`.
void store_losses(const std::string& prefix, const model::LanguageModel& model, const at::Tensor& hidden,
                  const model::LossResult& loss, const data::ChunkLayout& layout, int64_t T,
                  NamedTensors& results);

/// Training-mode run with the stored noise, its gradients, and an evaluation run; results under the golden
/// names ("act/...", "grad/...", "act_grad/...", "eval/..."). Choices idx.g and weights w.g are ordered by
/// chunk number; all on the CPU, wherever the model ran.
/// A `jitter` above 0 multiplies every weight by 1 + 2^-10 x, x in (-1, 1) drawn with that seed: less than
/// bf16's own rounding of the weights, but other roundings all the way through.
NamedTensors run_model_case(const GoldenFile& golden, at::ScalarType dtype, uint64_t jitter = 0,
                            at::Device device = at::kCPU);

/// Brings golden results to the same form: idx.g and w.g by chunk number, scores without meaning as 0.
at::Tensor canonical(const GoldenFile& golden, const std::string& name);

}  // namespace gca::golden
