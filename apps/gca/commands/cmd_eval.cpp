// gca eval: its flags.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/help/command_words.h"
#include "apps/gca/options/eval_options.h"
#include "apps/gca/options/kv_policy_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/core/size_suffix.h"
#include "lib/tasks/task_kinds.h"

namespace gca::app {
namespace {

constexpr const char* kPlantedGroup = "Task";

/// The kinds that have this setting: "passkey, multikey, multihop".
std::string kinds_with(const tasks::TaskSetting& setting) {
  std::vector<std::string> names;
  for (const tasks::TaskKind* kind : tasks::task_kinds()) {
    const auto settings = tasks::eval_settings(*kind);
    if (std::find(settings.begin(), settings.end(), &setting) != settings.end())
      names.emplace_back(kind->name);
  }
  return joined(names, ", ");
}

/// A text that a policy reads is read once, from its beginning, and nothing is retrieved for it.
void refuse_flags_beside_policies(const CLI::App& command, const EvalOptions& options) {
  const auto refuse = [&](const std::vector<std::string>& flags, const std::string& what,
                          const std::string& remedy) {
    for (const std::string& flag : flags)
      if (command.count(flag) > 0) fail_usage(flag, what, remedy);
  };
  check_kv_policy_settings(command, options.kv_policies, options.kv_settings);
  if (options.kv_policies.empty()) {
    refuse({"--answer-tokens"}, "has no meaning without --kv-policy", "leave it out, or name policies");
    return;
  }
  refuse({"--retriever", "--stride", "--token-losses", "--full-prefill", "--memory", "--memory-dtype"},
         "is not used with --kv-policy", "leave it out");
  if (options.task == tasks::kPerplexityTask) {
    if (options.answer_tokens < 2) fail_usage("--answer-tokens", "is below 2", "give 2 or more");
    if (options.question_tokens < 1) fail_usage("--question-tokens", "is below 1", "give 1 or more");
    return;
  }
  refuse({"--answer-tokens", "--question-tokens"}, "has no meaning for --task " + options.task,
         "leave it out: the task asks");
}

/// A flag that the task does not look at would promise what does not happen.
void refuse_unused_flags(const CLI::App& command, const std::string& task) {
  const auto refuse = [&](const std::string& flag, const std::string& remedy) {
    if (command.count(flag) > 0) fail_usage(flag, "has no meaning for --task " + task, remedy);
  };
  const tasks::TaskKind* kind = tasks::find_task_kind(task);
  const auto own = kind != nullptr ? tasks::eval_settings(*kind) : std::vector<const tasks::TaskSetting*>();
  for (const tasks::TaskSetting* setting : tasks::all_task_settings())
    if (setting->flag != nullptr && std::find(own.begin(), own.end(), setting) == own.end())
      refuse(setting->flag, "leave it out, or give --task " + kinds_with(*setting));
  if (kind == nullptr) {
    const std::vector<std::string> names = tasks::eval_task_names();
    for (const char* flag : {"--trials", "--haystacks", "--full-prefill"})
      refuse(flag, "leave it out, or give --task " + joined({names.begin() + 1, names.end()}, ", "));
  } else {
    refuse("--max-tokens", "leave it out; --trials says how much is measured");
    for (const char* flag : {"--stride", "--token-losses"})
      refuse(flag, "leave it out, or measure perplexity");
  }
}

std::string task_help(const std::string& default_task) {
  std::string help = "What to measure: perplexity of the text";
  for (const tasks::TaskKind* kind : tasks::task_kinds())
    if (kind->make_trials != nullptr) help += std::string("; ") + kind->name + ": " + kind->help;
  return with_default(help, default_task);
}

void add_task_settings(CLI::App& command, tasks::TaskSettings& settings) {
  for (const tasks::TaskSetting* setting : tasks::all_task_settings()) {
    if (setting->flag == nullptr) continue;
    command
        .add_option_function<std::string>(
            setting->flag,
            [setting, &settings](const std::string& text) {
              settings.set(*setting, parse_size(setting->flag, text));
            },
            with_default(setting->help, setting->default_value))
        ->type_name("N")
        ->group(kPlantedGroup);
  }
}

void add_policy_options(CLI::App& command, EvalOptions& options) {
  constexpr const char* group = "Cache policy";
  add_kv_policies_option(
      command, options.kv_policies,
      "Measure answers under cache policies of full attention, side by side (a text is read as "
      "a prompt, its answer token by token)");
  add_size_option(command, "--answer-tokens", options.answer_tokens,
                  with_default("Last tokens of a stretch, which are predicted", options.answer_tokens))
      ->group(group);
  add_question_tokens_option(command, options.question_tokens);
  add_kv_policy_settings(command, options.kv_settings);
  add_kv_dtype_option(command, options.checkpoint.tensor);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand("eval", "Measure how well a model predicts text");
  command->add_option("INPUT", options->inputs, "Text files or folders, or - for standard input");
  add_checkpoint_options(*command, options->checkpoint);
  add_weight_dtype_option(*command, options->checkpoint.tensor);
  command->add_option("--data", options->data, "Folder written by gca chunk or gca tokenize")
      ->type_name("DIR");
  command->add_option("--task", options->task, task_help(options->task))
      ->check(CLI::IsMember(tasks::eval_task_names()))
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
                   with_default("Which chunks are read: learned, random, recent, none; one or more",
                                options->retrievers.front()))
      ->delimiter(',')
      ->check(CLI::IsMember({"learned", "random", "recent", "none"}))
      ->type_name("NAME,...");
  add_size_option(*command, "--max-tokens", options->max_tokens,
                  "Bound of the text per measurement: stretches of the longest context are taken from every "
                  "document in turn until it is reached (default: all)");
  add_size_option(
      *command, "--stride", options->stride,
      "Text tokens between the beginnings of stretches, which overlap where it is below the context: each "
      "token is predicted once, with as much of the context as there is (default: the context)");
  command
      ->add_option(
          "--token-losses", options->token_losses,
          "Write every prediction to this file, a JSON object a line: document, token, text, context, loss")
      ->type_name("FILE");
  add_size_option(*command, "--segment", options->segment_positions,
                  "Positions of a prefill segment, rounded up to whole chunks (default: chosen by memory)");
  add_size_option(*command, "--trials", options->trials,
                  with_default("Trials at each context", options->trials))
      ->group(kPlantedGroup);
  add_size_option(
      *command, "--haystacks", options->haystacks,
      "Different beginnings of the haystack that trials take turns at (default: one a trial where that "
      "reads at most 4M tokens, else as many as fit, at least 1)")
      ->group(kPlantedGroup);
  add_task_settings(*command, options->task_settings);
  command
      ->add_flag(
          "--full-prefill", options->full_prefill,
          "Read every trial's text from its first token, all layers: the plain way, which gives the same")
      ->group(kPlantedGroup);
  add_policy_options(*command, *options);
  add_memory_options(*command, options->memory, options->memory_dtype);
  add_source_options(*command, options->source);
  add_common_options(*command, options->common);
  add_timeout_option(*command, options->timeout_seconds);
  command->callback([command, options] {
    refuse_unused_flags(*command, options->task);
    refuse_flags_beside_policies(*command, *options);
    options->kv_settings.dtype = kv_dtype_of(options->checkpoint.tensor);
    if (options->inputs.empty()) refuse_source_options(*command, "without INPUT");
    run_eval(*options);
  });
}

}  // namespace gca::app
