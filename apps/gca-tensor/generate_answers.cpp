#include "apps/gca-tensor/generate_answers.h"

#include <fmt/format.h>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/process/interrupt.h"
#include "apps/gca/process/standard_output.h"
#include "kernels/common/philox.h"
#include "lib/core/interrupted.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/model/backbone_kinds.h"

namespace gca::app {

uint64_t answer_seed(uint64_t seed, int64_t prompt, int64_t sample) {
  constexpr uint64_t kSeeds = 1;  // step of the stream; tokens are drawn in step 0
  const PhiloxBlock block = philox_block(seed, RandomStream::sampling, kSeeds,
                                         static_cast<uint64_t>(prompt) << 32 | static_cast<uint64_t>(sample));
  return (uint64_t{block.word[1]} << 32 | block.word[0]) >> 11;
}

std::string end_reason(const generate::Generation& generation, int64_t max_new_tokens) {
  if (generation.stopped) return "stop_text";
  if (generation.ended) return "end_token";
  return static_cast<int64_t>(generation.tokens.size()) >= max_new_tokens ? "length" : "interrupted";
}

bool retrieved_nothing(const GenerateOptions& options, const model::TextModel& model,
                       const generate::Generation& generation) {
  return !options.load_memory.empty() && model::backbone_kind(model.model.config()).keeps_chunk_memory &&
         !generation.tokens.empty() && generation.chunks_retrieved == 0;
}

void tell_nothing_retrieved(const GenerateOptions& options, const model::TextModel& model, int64_t answers,
                            int64_t all) {
  const std::string which =
      all == 1 ? "nothing was retrieved" : fmt::format("{} of {} answers retrieved nothing", answers, all);
  fmt::print(stderr,
             "{} from {}: retrieval begins when prompt and answer have filled a chunk, {} text tokens; give "
             "a longer "
             "prompt\n",
             which, options.load_memory, model.model.config().chunk_text_size());
}

void generate_answers(const GenerateOptions& options, const model::TextModel& model,
                      generate::TextSession session, std::span<const NumberedPrompt> prompts,
                      generate::GenerationOptions how, JsonReport& report) {
  const auto interrupted = [] { return interrupt_flag().load(); };
  const auto show_nothing = [](const std::string&) {};
  nlohmann::ordered_json answers = nlohmann::ordered_json::array();
  int64_t new_tokens = 0, without_retrieval = 0;
  double decode_seconds = 0;
  for (size_t number = 0; number < prompts.size() && !interrupted(); ++number) {
    const NumberedPrompt& prompt = prompts[number];
    // The prompt is read once for all its samples.
    generate::TextSession read = session.clone();
    generate::GenerationOptions only_reading = how;
    only_reading.max_new_tokens = 0;
    generate::generate(model, prompt.tokens, only_reading, read, show_nothing, interrupted);
    for (int64_t sample = 0; sample < options.samples && !interrupted(); ++sample) {
      how.seed = answer_seed(options.common.seed, static_cast<int64_t>(number), sample);
      generate::TextSession one = read.clone();
      const generate::Generation answer = generate::generate(model, {}, how, one, show_nothing, interrupted);
      nlohmann::ordered_json line;
      line["prompt"] = number;
      if (!prompt.id.is_null()) line["id"] = prompt.id;
      line["sample"] = sample;
      line["seed"] = how.seed;
      line["prompt_tokens"] = prompt.tokens.size();
      line["new_tokens"] = answer.tokens.size();
      line["chunks_retrieved"] = answer.chunks_retrieved;
      line["end_reason"] = end_reason(answer, how.max_new_tokens);
      line["text"] = answer.text;
      line["tokens"] = answer.tokens;
      write_output(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
      flush_output();
      new_tokens += static_cast<int64_t>(answer.tokens.size());
      decode_seconds += answer.decode_seconds;
      without_retrieval += retrieved_nothing(options, model, answer) ? 1 : 0;
      answers.push_back(std::move(line));
    }
  }
  const auto all = static_cast<int64_t>(answers.size());
  if (without_retrieval > 0) tell_nothing_retrieved(options, model, without_retrieval, all);
  report.result["prompts"] = prompts.size();
  report.result["new_tokens"] = new_tokens;
  report.result["decode_tokens_per_second"] =
      decode_seconds > 0 ? static_cast<double>(new_tokens) / decode_seconds : 0.0;
  report.result["answers"] = std::move(answers);
  report.result["peak_memory_bytes"] = peak_memory_bytes();
  finish_report(report, options.common, "", "");
  if (interrupt_flag()) throw Interrupted();
}

}  // namespace gca::app
