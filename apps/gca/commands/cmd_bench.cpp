// gca bench: its flags.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/help/command_words.h"
#include "apps/gca/options/bench_options.h"
#include "apps/gca/options/kv_policy_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"

namespace gca::app {

namespace {

void check_policies(const CLI::App& command, const BenchOptions& options) {
  check_kv_policy_settings(command, options.kv_policies, options.kv_settings);
  if (options.kv_policies.empty()) return;
  if (!options.modes.empty() && options.modes != std::vector<std::string>{"decoding"})
    fail_usage("--mode", "is decoding alone with --kv-policy", "leave it out");
  if (options.chooses_memory())
    fail_usage(options.memory_dtype.empty() ? "--memory" : "--memory-dtype", "is not used with --kv-policy",
               "leave it out");
  if (options.question_tokens < 1) fail_usage("--question-tokens", "is below 1", "give 1 or more");
  for (const int64_t context : options.contexts)
    if (context <= options.question_tokens)
      fail_usage("--context",
                 "leaves nothing before --question-tokens " + std::to_string(options.question_tokens),
                 "give a longer context, or lower --question-tokens");
}

}  // namespace

void add_bench_command(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure the speed of training, prefill and decoding on this machine");
  CLI::Option* config =
      command
          ->add_option("--config", options->config,
                       with_default("Preset (" + joined(preset_names(), ", ") + ") or JSON file of the model",
                                    options->config))
          ->type_name("PRESET|FILE");
  CLI::Option* set =
      command->add_option("--set", options->settings, "Change one setting, KEY=VALUE; may be repeated")
          ->type_name("KEY=VALUE")
          ->expected(1)
          ->take_all();
  command
      ->add_option("--checkpoint", options->checkpoint,
                   "Measure this model, by default all but training (default: random weights of --config)")
      ->type_name("DIR")
      ->excludes(config)
      ->excludes(set);
  add_size_list_option(*command, "--context", options->contexts,
                       with_default("Text tokens per sequence; for decoding, text tokens that precede it",
                                    options->contexts.front()));
  command
      ->add_option(
          "--mode", options->modes,
          "What to measure: training, prefill, scoring (prefill that computes all logits) and decoding, "
          "separated by commas (default: all; with --weight-dtype int8 or --checkpoint, which are not "
          "trained here, "
          "all others; with --kv-policy decoding)")
      ->delimiter(',')
      ->check(CLI::IsMember(mode_names()))
      ->type_name("NAME,...");
  add_size_option(*command, "--batch", options->batch,
                  "Sequences per micro-batch; the same as --set batch=N");
  add_size_option(*command, "--repeats", options->repeats,
                  with_default("Number of measured runs per row; the median is reported", options->repeats));
  add_size_option(*command, "--decode-tokens", options->decoded_tokens,
                  with_default("Tokens decoded per run", options->decoded_tokens));
  command->add_flag(
      "--peak,!--no-peak", options->peak,
      "Measure this machine's rates of matrix products and memory reads, and report utilization "
      "(default)");
  command
      ->add_option(
          "--isa", options->instruction_set,
          "Instruction set of the CPU kernels, for comparison, such as avx2, avx512bf16 or amx (default: the "
          "best that the processor runs)")
      ->type_name("NAME");
  command->add_flag("--profile", options->profile, "Show how the time of each row is spent, by operator");
  add_memory_options(*command, options->memory, options->memory_dtype);
  add_kv_policies_option(*command, options->kv_policies,
                         "Decode under cache policies of full attention, side by side");
  add_question_tokens_option(*command, options->question_tokens);
  add_kv_policy_settings(*command, options->kv_settings);
  add_kv_dtype_option(*command, options->tensor);
  add_common_options(*command, options->common);
  add_tensor_options(*command, options->tensor, {"cpu"});  // nothing here waits for a GPU to finish
  add_weight_dtype_option(*command, options->tensor);
  command->callback([command, options] {
    if (options->repeats < 1) fail_usage("--repeats", "is below 1", "give 1 or more");
    if (options->decoded_tokens < 1) fail_usage("--decode-tokens", "is below 1", "give 1 or more");
    for (const int64_t context : options->contexts)
      if (context < 2) fail_usage("--context", "is below 2", "give 2 or more");
    check_policies(*command, *options);
    options->kv_settings.dtype = kv_dtype_of(options->tensor);
    run_bench(*options);
  });
}

}  // namespace gca::app
