#pragma once
// Reads the parts of a text through a feeder and tells the cache of its past where they begin: what a policy must
// not guess from the lengths of calls.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/text_feeder.h"

namespace gca::model {

/// A new past of `model` whose cache follows `policy`. Throws Error(usage) when the model has no cache and the
/// policy is not full. At a `position` as LanguageModel::begin() says.
std::unique_ptr<Past> begin_with_policy(const LanguageModel& model, const KvPolicy& policy,
                                        int64_t position = 0);

/// The past before a text: its cache follows `policy`, or keeps chunk memory at `place` where everything is kept.
std::unique_ptr<Past> begin_past(const LanguageModel& model, const MemoryPlace& place, const KvPolicy& policy,
                                 int64_t position = 0);

/// Reads the fixed text that inputs follow, after which `past`, which is new, may be cloned for each of them.
void read_prefix(const LanguageModel& model, std::unique_ptr<Past>& past, std::span<const int32_t> prefix,
                 int64_t segment_positions = 0);

/// Reads `prompt` after all that `feeder` has read, as the policy of its past's cache does. What is read next is
/// an answer, one token at a time. The last `instruction_tokens` say what is wanted of the rest, to a policy that
/// asks for it. The hidden state (1, 1, d) after the last token; undefined where `interrupted` came first.
/// `feeder` is of a model that has a cache.
at::Tensor read_prompt(const LanguageModel& model, TextFeeder& feeder, std::span<const int32_t> prompt,
                       int64_t instruction_tokens, const std::function<bool()>& interrupted);

/// A text that was read as far as its answer.
struct ReadText {
  TextFeeder feeder;
  at::Tensor hidden;  ///< (1, 1, d) after its last token; undefined where it was interrupted
};

/// Reads `text` from an empty past of `policy`. Its last `question_tokens` (>= 1) are what is asked about the
/// rest: they are the instruction of citrus, and what follows the prefix of squeezed.
ReadText read_text(const LanguageModel& model, const KvPolicy& policy, std::span<const int32_t> text,
                   int64_t question_tokens, int64_t segment_positions,
                   const std::function<bool()>& interrupted);

}  // namespace gca::model
