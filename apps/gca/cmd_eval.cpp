// gca eval: its flags.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands.h"
#include "apps/gca/eval_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"

namespace gca {
namespace {

/// A flag that the task does not look at would promise what does not happen.
void refuse_unused_flags(const CLI::App& command, const std::string& task) {
  const auto refuse = [&](const std::string& flag, const std::string& remedy) {
    if (command.count(flag) > 0) fail_usage(flag, "has no meaning for --task " + task, remedy);
  };
  if (task == "perplexity") {
    for (const char* flag : {"--trials", "--haystacks", "--value-tokens", "--key-tokens", "--distractors",
                             "--hops", "--passage-chunks", "--full-prefill"})
      refuse(flag, "leave it out, or give --task passkey, multikey, multihop or recall");
    return;
  }
  refuse("--max-tokens", "leave it out; --trials says how much is measured");
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand("eval", "Measure how well a model predicts text");
  command->add_option("INPUT", options->inputs, "Text files or folders, or - for standard input");
  add_checkpoint_options(*command, options->checkpoint);
  command->add_option("--data", options->data, "Folder written by gca chunk or gca tokenize")
      ->type_name("DIR");
  command
      ->add_option(
          "--task", options->task,
          "What to measure: perplexity (default); passkey, multikey or multihop: answers from needles in a "
          "haystack of --data or INPUT; recall: is the first occurrence of a repeated passage retrieved")
      ->check(CLI::IsMember({"perplexity", "passkey", "multikey", "multihop", "recall"}))
      ->type_name("NAME");
  command
      ->add_option(
          "--split", options->split,
          "train or valid of a gca chunk folder, whole documents (default: valid where there is one)")
      ->check(CLI::IsMember({"auto", "train", "valid"}))
      ->type_name("NAME");
  add_size_list_option(
      *command, "--context", options->contexts,
      "Text tokens that a prediction may look back on, one or more lengths; documents are cut into "
      "stretches of it (default: what the model was trained with)");
  command
      ->add_option("--retriever", options->retrievers,
                   "Which chunks are read: learned, random, recent, none; one or more (default: learned)")
      ->delimiter(',')
      ->check(CLI::IsMember({"learned", "random", "recent", "none"}))
      ->type_name("NAME,...");
  add_size_option(*command, "--max-tokens", options->max_tokens,
                  "Bound of the text per measurement: stretches of the longest context are taken from every "
                  "document in turn until it is reached (default: all)");
  add_size_option(*command, "--segment", options->segment_positions,
                  "Positions of a prefill segment, rounded up to whole chunks (default: chosen by memory)");
  const std::string group = "Needles and recall";
  add_size_option(*command, "--trials", options->trials, "Trials at each context (default: 200)")
      ->group(group);
  add_size_option(
      *command, "--haystacks", options->haystacks,
      "Different beginnings of the haystack that trials take turns at (default: one a trial where that "
      "reads at most 4M tokens, else as many as fit, at least 1)")
      ->group(group);
  add_size_option(*command, "--value-tokens", options->value_tokens,
                  "Random tokens of a passkey (default: 5)")
      ->group(group);
  add_size_option(*command, "--key-tokens", options->key_tokens,
                  "Random tokens of a key (multikey) or variable (multihop) (default: 1)")
      ->group(group);
  add_size_option(*command, "--distractors", options->distractors,
                  "Further keys (multikey) or chains (multihop) that nobody asks for (default: 3)")
      ->group(group);
  add_size_option(*command, "--hops", options->hops, "Needles of a chain (default: 2)")->group(group);
  add_size_option(*command, "--passage-chunks", options->passage_chunks,
                  "Chunks that the repeated passage is long (default: 3)")
      ->group(group);
  command
      ->add_flag(
          "--full-prefill", options->full_prefill,
          "Read every trial's text from its first token, all layers: the plain way, which gives the same")
      ->group(group);
  add_memory_options(*command, options->memory, options->memory_dtype);
  add_common_options(*command, options->common);
  command->callback([command, options] {
    refuse_unused_flags(*command, options->task);
    run_eval(*options);
  });
}

}  // namespace gca
