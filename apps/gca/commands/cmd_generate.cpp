// gca generate: its flags.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/generate_options.h"
#include "apps/gca/tensor_stages.h"

namespace gca::app {

void add_generate_command(CLI::App& app) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt");
  generate::GenerationOptions& generation = options->generation;
  add_checkpoint_options(*command, options->checkpoint);
  add_weight_dtype_option(*command, options->checkpoint.tensor);
  add_prompt_options(*command, options->prompt);
  command
      ->add_option("--prompts", options->prompts,
                   "File of prompts, a JSON object a line with the key \"prompt\" and, if wanted, \"id\"; - "
                   "for standard "
                   "input. Model and library are opened once, and each answer is printed as a JSON line")
      ->type_name("FILE")
      ->excludes("--prompt")
      ->excludes("--prompt-file");
  add_size_option(
      *command, "--samples", options->samples,
      with_default("Answers to each prompt, a JSON line each; the seed in a line, given as --seed, "
                   "repeats that answer alone",
                   options->samples));
  add_size_option(*command, "--max-new-tokens", generation.max_new_tokens,
                  with_default("Maximum number of tokens to generate", generation.max_new_tokens));
  command
      ->add_option("--temperature", generation.sampling.temperature,
                   with_default("Divide the logits by this; 0: always take the most probable token",
                                generation.sampling.temperature))
      ->type_name("F");
  add_size_option(
      *command, "--top-k", generation.sampling.top_k,
      with_default("Sample from the K most probable tokens only; 0: from all", generation.sampling.top_k));
  command
      ->add_option("--top-p", generation.sampling.top_p,
                   with_default("Sample from the smallest set of tokens whose total probability reaches this",
                                generation.sampling.top_p))
      ->type_name("F");
  command
      ->add_option("--stop", generation.stop_texts,
                   "Stop when this text is generated; it is not printed. May be given several times")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  add_size_option(
      *command, "--segment", generation.segment_positions,
      "Positions per prefill segment, rounded up to whole chunks (default: chosen from the available "
      "memory)");
  add_memory_options(*command, options->memory, options->memory_dtype);
  command
      ->add_option("--save-memory", options->save_memory,
                   "Save the state after all text that was read and generated to this folder; --load-memory "
                   "continues from it")
      ->type_name("DIR");
  command
      ->add_option(
          "--load-memory", options->load_memory,
          "Continue from a state written by --save-memory (a prompt is optional), or retrieve from a "
          "library built by gca memory (a prompt is required)")
      ->type_name("DIR");
  command->add_flag("--profile", options->profile, "Report how the time is spent, by operator");
  add_kv_policy_options(*command, options->kv);
  add_kv_dtype_option(*command, options->checkpoint.tensor);
  add_common_options(*command, options->common);
  command->callback([command, options] {
    check_kv_policy_options(*command, options->kv);
    options->kv.policy.dtype = kv_dtype_of(options->checkpoint.tensor);
    run_generate(*options);
  });
}

}  // namespace gca::app
