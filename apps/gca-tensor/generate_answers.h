#pragma once
// gca generate --prompts and --samples: many answers from a model and a library that are opened once.

#include <cstdint>
#include <span>
#include <string>

#include "apps/gca-tensor/read_prompt.h"
#include "apps/gca/options/generate_options.h"
#include "lib/core/json/json_report.h"
#include "lib/generate/generator.h"
#include "lib/generate/text_session.h"
#include "lib/model/text_model.h"

namespace gca::app {

/// The seed of one answer: of the seed of the run, the prompt's number and the sample's, whatever else is
/// asked. Below 2^53, so that every JSON reader keeps it.
uint64_t answer_seed(uint64_t seed, int64_t prompt, int64_t sample);

/// Why a text ends: "stop_text", "end_token", "length" or "interrupted".
std::string end_reason(const generate::Generation& generation, int64_t max_new_tokens);

/// True where --load-memory gave a model chunks to read, and it read none.
bool retrieved_nothing(const GenerateOptions& options, const model::TextModel& model,
                       const generate::Generation& generation);
/// Says so on standard error, and why; `answers` of `all`.
void tell_nothing_retrieved(const GenerateOptions& options, const model::TextModel& model,
                            int64_t answers = 1, int64_t all = 1);

/// Prints each answer to the prompts as a JSON line, all after the text that `session` holds, and finishes
/// the report. Throws Interrupted after the answer that was interrupted.
void generate_answers(const GenerateOptions& options, const model::TextModel& model,
                      generate::TextSession session, std::span<const NumberedPrompt> prompts,
                      generate::GenerationOptions how, JsonReport& report);

}  // namespace gca::app
