#pragma once
// The text that --prompt or --prompt-file gives.

#include <cstdint>
#include <vector>

#include "apps/gca/text_arguments.h"
#include "lib/text/tokenizer.h"

namespace gca::app {

/// The prompt's bytes, encoded. Throws Error(usage) when there is none, or it is empty.
std::vector<int32_t> read_prompt(const PromptOptions& options, const text::Tokenizer& tokenizer, int threads);

}  // namespace gca::app
