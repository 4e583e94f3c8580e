#pragma once
// Start-up weights: the layers of a model that can copy and choose already, for a model of the same sizes
// with any vocabulary. Copying and choosing live in the layers, so the embedding is drawn anew: normal, with
// the mean and the deviation that each of its columns had. The landmark is no word of a vocabulary and keeps
// its row.
//
// A folder as a checkpoint's: config.json and model.safetensors, F32 or BF16. In place of "tok_emb" the
// latter may hold what is needed of it: "tok_emb.mean", "tok_emb.deviation" and "tok_emb.landmark", (d) each.

#include <cstdint>
#include <string>

#include "lib/model/language_model.h"

namespace gca::train {

/// The folder below `root` that has start-up weights of these sizes, window, chunks and vocabulary aside;
/// empty where there is none.
std::string find_start_up(const std::string& root, const model::ModelConfig& config);

/// Sets the weights of `model`, embedding rows drawn from `seed`. Throws Error(usage) naming a file that is
/// missing, damaged or of other sizes.
void load_start_up(const std::string& folder, model::LanguageModel& model, uint64_t seed);

}  // namespace gca::train
