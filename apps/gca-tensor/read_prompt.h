#pragma once
// The text that --prompt or --prompt-file gives, and those of --prompts.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/gca/options/text_arguments.h"
#include "lib/text/tokenizer.h"

namespace gca::app {

/// The prompt's bytes, encoded. Throws Error(usage) when there is none, or it is empty.
std::vector<int32_t> read_prompt(const PromptOptions& options, const text::Tokenizer& tokenizer, int threads);

/// A line of --prompts.
struct NumberedPrompt {
  nlohmann::json id;  ///< as given; null for none
  std::vector<int32_t> tokens;
};

/// Every line of the file, "-" for standard input; blank lines are passed over. Throws Error(usage) naming
/// the line that is no object with a "prompt".
std::vector<NumberedPrompt> read_prompts(const std::string& path, const text::Tokenizer& tokenizer,
                                         int threads);

}  // namespace gca::app
