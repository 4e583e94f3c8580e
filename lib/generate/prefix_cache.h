#pragma once
// A fixed text that many prompts begin with, read once and kept in a file (--prefix-cache): its tokens, and all
// that the cache of its past holds.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "lib/model/backbone.h"
#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/text_model.h"

namespace gca::generate {

/// Writes the file aside and renames it. `past` has read `prefix` (model::read_prefix()) and nothing else.
void save_prefix(const std::string& path, const model::TextModel& model, const model::KvPolicy& policy,
                 std::span<const int32_t> prefix, model::Past& past);

struct KeptPrefix {
  std::unique_ptr<model::Past> past;
  int64_t tokens = 0;
};

/// The prefix that `prompt` begins with. Throws Error(usage) when the file is missing or damaged, when it is of
/// another model, type or settings of the policy, or when the prompt does not begin with its tokens and go on.
KeptPrefix load_prefix(const std::string& path, const model::TextModel& model, const model::KvPolicy& policy,
                       std::span<const int32_t> prompt);

}  // namespace gca::generate
