// gca generate: its flags.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands.h"
#include "apps/gca/generate_options.h"
#include "apps/gca/tensor_stages.h"

namespace gca {

void add_generate_command(CLI::App& app) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt");
  GenerationOptions& generation = options->generation;
  add_checkpoint_options(*command, options->checkpoint);
  add_prompt_options(*command, options->prompt);
  add_size_option(*command, "--max-new-tokens", generation.max_new_tokens,
                  with_default("Tokens to add at most", generation.max_new_tokens));
  command
      ->add_option("--temperature", generation.sampling.temperature,
                   with_default("Divides the logits; 0: always the most probable token",
                                generation.sampling.temperature))
      ->type_name("F");
  add_size_option(
      *command, "--top-k", generation.sampling.top_k,
      with_default("Draw among the K most probable tokens only; 0: among all", generation.sampling.top_k));
  command
      ->add_option("--top-p", generation.sampling.top_p,
                   with_default("Draw among the fewest tokens that reach this probability together",
                                generation.sampling.top_p))
      ->type_name("F");
  command->add_option("--stop", generation.stop_text, "End where this text comes; it is not printed")
      ->type_name("TEXT");
  add_size_option(*command, "--segment", generation.segment_positions,
                  "Positions of a prefill segment, rounded up to whole chunks (default: chosen by memory)");
  add_memory_options(*command, options->memory, options->memory_dtype);
  command
      ->add_option("--save-memory", options->save_memory,
                   "Keep all that was read and written in this folder, to go on from with --load-memory")
      ->type_name("DIR");
  command
      ->add_option("--load-memory", options->load_memory,
                   "Go on after the text that --save-memory kept, or retrieve from a library that gca memory "
                   "built; a prompt may follow the one and must follow the other")
      ->type_name("DIR");
  command->add_flag("--profile", options->profile, "Tell where the time goes, by operator, in the report");
  add_common_options(*command, options->common);
  command->callback([options] { run_generate(*options); });
}

}  // namespace gca
