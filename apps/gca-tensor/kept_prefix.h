#pragma once
// --prefix-tokens and --prefix-cache of gca generate, and what a cache policy has read, for its report.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "apps/gca/options/generate_options.h"
#include "lib/generate/text_session.h"
#include "lib/model/text_model.h"

namespace gca::app {

/// The session begins with the prefix of `prompt`, from the file where it is there, else read, and written to the
/// file where one is named. How many tokens of the prompt it is; 0 where no prefix was asked for. Throws
/// Error(usage).
int64_t begin_with_prefix(const GenerateOptions& options, const model::TextModel& model,
                          std::span<const int32_t> prompt, generate::TextSession& session);

/// Per token of an answer: bytes of keys and values that were read, and the share of all earlier rows.
nlohmann::ordered_json kv_reads_to_json(const model::KvCache& cache, int64_t new_tokens);

}  // namespace gca::app
