// gca generate: a prompt continued, as it comes; generate_answers.cpp has several prompts and samples.

#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "apps/gca-tensor/generate_answers.h"
#include "apps/gca-tensor/kept_prefix.h"
#include "apps/gca-tensor/open_checkpoint.h"
#include "apps/gca-tensor/read_prompt.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/commands/commands.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/options/generate_options.h"
#include "apps/gca/process/interrupt.h"
#include "apps/gca/process/result_files.h"
#include "apps/gca/process/standard_output.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/core/files/folder_lock.h"
#include "lib/core/interrupted.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/core/seconds_since.h"
#include "lib/data/sealed_json.h"
#include "lib/generate/generator.h"
#include "lib/generate/text_session.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/kv_cache/kv_session.h"
#include "lib/model/memory/memory_library.h"
#include "lib/model/text_feeder.h"
#include "lib/profile/operator_profile.h"

namespace gca::app {
namespace {

void check_options_of_answers(const GenerateOptions& options) {
  if (options.samples < 1) fail_usage("--samples", "is below 1", "give 1 or more");
  const std::string flag = options.prompts.empty() ? "--samples" : "--prompts";
  const auto refuse = [&](bool is_given, const char* other, const char* remedy) {
    if (is_given) fail_usage(other, "is not used with " + flag, remedy);
  };
  refuse(options.common.json, "--json",
         "leave it out: each answer is a JSON line; --report FILE keeps the report");
  refuse(options.profile, "--profile", "leave it out, or give one --prompt");
  refuse(!options.save_memory.empty(), "--save-memory", "leave it out, or give one --prompt");
  refuse(options.kv.prefix_tokens > 0, "--prefix-tokens", "leave it out, or give one --prompt");
  refuse(!options.kv.prefix_cache.empty(), "--prefix-cache", "leave it out, or give one --prompt");
}

void check_options(const GenerateOptions& options) {
  const generate::SamplingOptions& sampling = options.generation.sampling;
  if (!(sampling.temperature >= 0.0))
    fail_usage("--temperature", "is below 0", "0 always takes the most probable token, 1 samples plainly");
  if (!(sampling.top_p > 0.0 && sampling.top_p <= 1.0))
    fail_usage("--top-p", "is not above 0 and at most 1", "1 leaves every token in");
  for (const std::string& stop : options.generation.stop_texts)
    if (stop.empty()) fail_usage("--stop", "is empty", "give the text to stop at, or leave it out");
  if (options.has_several_answers()) check_options_of_answers(options);
}

double per_second(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

/// What the prompt follows: nothing, a text that was kept, or a library. Chunk memory grows at --memory.
generate::TextSession open_session(const GenerateOptions& options, const model::TextModel& model) {
  const model::MemoryPlace place = model::MemoryPlace::of(options.memory, options.memory_dtype);
  const std::string& folder = options.load_memory;
  if (!folder.empty() && data::folder_format(folder) != model::kLibraryFormat)
    return generate::load_session(folder, model, place, options.kv.policy);
  generate::TextSession session;
  if (!folder.empty()) {
    if (!options.save_memory.empty())
      fail_usage("--save-memory", "is not used with a library", "leave it out; the library stays as it is");
    session.past = model::MemoryLibrary::open(folder, model).past(model.model, place);
  } else {
    session.past = model::begin_past(model.model, place, options.kv.policy);
  }
  return session;
}

/// Rotary positions beyond those that the model was made for are read badly, not wrongly.
void tell_beyond_trained(const GenerateOptions& options, const model::TextModel& model, size_t prompt_tokens,
                         const generate::GenerationOptions& how) {
  const std::string& policy = options.kv.policy.name;
  if (policy == "window" || policy == "sink" || policy == "citrus") return;  // places stay within the cache
  const int64_t most = model.model.config().max_positions;
  const int64_t length = static_cast<int64_t>(prompt_tokens) + how.max_new_tokens;
  if (most > 0 && length > most)
    fmt::print(stderr, "the text may reach {} tokens; the model was made for {} (max_position_embeddings)\n",
               length, most);
}

nlohmann::ordered_json result_of(const generate::Generation& generation, int64_t prompt_tokens,
                                 int64_t past_tokens, int64_t max_new_tokens) {
  const auto new_tokens = static_cast<int64_t>(generation.tokens.size());
  nlohmann::ordered_json result;
  result["text"] = generation.text;
  result["past_tokens"] = past_tokens;
  result["prompt_tokens"] = prompt_tokens;
  result["new_tokens"] = new_tokens;
  result["prefill_tokens_per_second"] = per_second(prompt_tokens, generation.prefill_seconds);
  result["decode_tokens_per_second"] = per_second(new_tokens, generation.decode_seconds);
  result["memory_bytes"] = generation.memory_bytes;
  result["stopped"] = generation.stopped;
  result["end_reason"] = end_reason(generation, max_new_tokens);
  result["chunks_retrieved"] = generation.chunks_retrieved;
  result["tokens"] = generation.tokens;
  return result;
}

}  // namespace

void run_generate(const GenerateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  JsonReport report = begin_tensor_report("generate", options.common, options.checkpoint.tensor);
  require_free_memory_place(options.memory);
  if (!options.save_memory.empty()) generate::check_session_folder(options.save_memory, "--save-memory");
  const model::TextModel model = open_checkpoint(options.checkpoint, options.common);
  model::require_choice_without_vectors(model.model.config(), "--checkpoint " + options.checkpoint.folder,
                                        "a prompt");
  generate::TextSession session = open_session(options, model);
  const int64_t past_tokens =
      model::chunk_layout_of(model.model.config()).text_before(session.past->position());
  const bool has_prompt = !options.prompt.text.empty() || !options.prompt.file.empty();
  std::vector<NumberedPrompt> prompts(1);
  if (!options.prompts.empty())
    prompts = read_prompts(options.prompts, model.tokenizer, thread_count(options.common));
  else if (has_prompt || options.load_memory.empty())
    prompts.front().tokens = read_prompt(options.prompt, model.tokenizer, thread_count(options.common));
  generate::GenerationOptions how = options.generation;
  how.instruction_tokens = options.kv.instruction_tokens;
  if (!options.kv.instruction_file.empty()) {
    const std::vector<int32_t> instruction = read_prompt({.text = "", .file = options.kv.instruction_file},
                                                         model.tokenizer, thread_count(options.common));
    how.instruction_tokens = static_cast<int64_t>(instruction.size());
    for (NumberedPrompt& one : prompts)
      one.tokens.insert(one.tokens.end(), instruction.begin(), instruction.end());
  }
  if (session.past->position() == 0)
    for (NumberedPrompt& one : prompts)
      one.tokens.insert(one.tokens.begin(), model.start_tokens.begin(), model.start_tokens.end());
  tell_beyond_trained(options, model, prompts.front().tokens.size(), how);
  const int64_t prefix_tokens = begin_with_prefix(options, model, prompts.front().tokens, session);
  const std::span<const int32_t> prompt =
      std::span<const int32_t>(prompts.front().tokens).subspan(static_cast<size_t>(prefix_tokens));
  how.seed = options.common.seed;
  how.keeps_session = !options.save_memory.empty();
  profile::OperatorProfile prefill_profile, decode_profile;
  if (options.profile) how.prefill_profile = &prefill_profile;
  if (options.profile) how.decode_profile = &decode_profile;
  const generate::SamplingOptions& sampling = how.sampling;
  report.config = checkpoint_config(options.checkpoint, model);
  report.config["max_new_tokens"] = options.generation.max_new_tokens;
  report.config["temperature"] = sampling.temperature;
  report.config["top_k"] = sampling.top_k;
  report.config["top_p"] = sampling.top_p;
  report.config["stop"] = options.generation.stop_texts;
  report.config["memory"] = options.memory;
  report.config["memory_dtype"] = options.memory_dtype;
  report.config["save_memory"] = options.save_memory;
  report.config["load_memory"] = options.load_memory;
  report.config["kv_policy"] = model::kv_policy_to_json(options.kv.policy);
  report.config["kv_dtype"] = resolved_kv_dtype(options.checkpoint.tensor);

  install_interrupt_handler();
  std::optional<FolderLock> only_writer;
  if (!options.save_memory.empty()) only_writer.emplace(options.save_memory);
  if (options.has_several_answers()) {
    report.config["samples"] = options.samples;
    generate_answers(options, model, std::move(session), prompts, how, report);
    return;
  }
  const bool streams = !options.common.json;
  bool ends_line = true;
  const auto show = [&](const std::string& text) {
    if (!streams) return;
    write_output(text);
    flush_output();
    ends_line = text.ends_with('\n');
  };
  const double opened_seconds = seconds_since(start);
  const generate::Generation generation =
      generate::generate(model, prompt, how, session, show, [] { return interrupt_flag().load(); });
  if (!ends_line && isatty(STDOUT_FILENO) != 0) write_output("\n");
  if (retrieved_nothing(options, model, generation)) tell_nothing_retrieved(options, model);

  report.result = result_of(generation, static_cast<int64_t>(prompt.size()) + prefix_tokens, past_tokens,
                            how.max_new_tokens);
  report.result["prefix_tokens"] = prefix_tokens;
  if (const model::KvCache* cache = session.past->kv_cache(); cache != nullptr)
    report.result["kv_cache"] = kv_reads_to_json(*cache, static_cast<int64_t>(generation.tokens.size()));
  report.result["first_token_seconds"] =
      generation.tokens.empty() ? 0.0 : opened_seconds + generation.first_token_seconds;
  report.result["peak_memory_bytes"] = peak_memory_bytes();
  if (options.profile)
    report.result["profile"] = {{"prefill", prefill_profile.to_json()},
                                {"decoding", decode_profile.to_json()}};
  // An interrupted text is kept as far as it came.
  std::optional<Error> failure;
  try {
    if (!options.save_memory.empty())
      generate::save_session(options.save_memory, "--save-memory", model, session, options.kv.policy);
  } catch (const Error& error) {
    failure = error;
  }
  try {
    finish_report(report, options.common, "", "");
  } catch (const ClosedPipe&) {
    if (!failure) throw;
  }
  if (failure) throw *failure;
  if (interrupt_flag()) throw Interrupted();
}

}  // namespace gca::app
