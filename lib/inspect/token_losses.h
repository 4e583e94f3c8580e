#pragma once
// The loss of every token of a text, with one way of choosing chunks.

#include <cstdint>
#include <span>
#include <vector>

#include "lib/model/language_model.h"

namespace gca::inspect {

/// Loss in nats of each token given `past`, which ends with a chunk, and all before it, in one pass; 0 for
/// the first. `segment_positions` as in TextFeeder.
std::vector<float> token_losses(const model::LanguageModel& model, std::span<const int32_t> text,
                                model::Retriever retriever, int64_t segment_positions = 0,
                                std::unique_ptr<model::Past> past = nullptr);

}  // namespace gca::inspect
