// gca pretrain: its flags.

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/commands/pretrain_config.h"
#include "apps/gca/help/command_words.h"
#include "apps/gca/options/pretrain_options.h"
#include "apps/gca/process/standard_output.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/tasks/task_kinds.h"

namespace gca::app {
namespace {

void print_config(PretrainOptions& options) {
  read_input_files(options);
  const train::RunConfig config = new_run_config(options);
  write_output(options.common.json ? config.to_json().dump(2) + "\n" : config_table(config));
}

std::string task_help(const std::string& default_task) {
  std::string help = "What to train on: the text of --data";
  for (const tasks::TaskKind* kind : tasks::task_kinds())
    if (kind->make_sequences != nullptr) help += std::string("; ") + kind->name + ": " + kind->help;
  return with_default(help, default_task);
}

}  // namespace

void add_pretrain_command(CLI::App& app) {
  auto options = std::make_shared<PretrainOptions>();
  CLI::App* command = app.add_subcommand("pretrain", "Train a model on sequences");
  command
      ->add_option("--data", options->data,
                   "Folder written by gca chunk (or gca tokenize); may be repeated, each with the weight of "
                   "its tokens: --data books:6 --data code:3")
      ->type_name("DIR")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--valid", options->valid,
                   "Folder with validation data (default: the valid split of --data)")
      ->type_name("DIR");
  command
      ->add_option("--config", options->configs,
                   "Preset (" + joined(preset_names(), ", ") +
                       ") or JSON file; the report.json of a run repeats that run; may be given several "
                       "times, and files "
                       "override presets")
      ->type_name("PRESET|FILE")
      ->expected(1)
      ->take_all();
  command->add_option("--set", options->settings, "Change one setting, KEY=VALUE; may be repeated")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--output", options->output,
                   "Folder of the run, for checkpoint/, metrics.jsonl and report.json; required to train")
      ->type_name("DIR");
  CLI::Option* steps = add_size_option(*command, "--steps", options->steps,
                                       "Number of optimizer steps; 0 saves the untrained model");
  CLI::Option* tokens =
      add_size_option(*command, "--tokens", options->tokens, "Number of text tokens to train on");
  CLI::Option* minutes = command->add_option(
      "--minutes", options->minutes,
      "Training time in minutes; converted into a number of steps by timing a few at the start");
  minutes->check([](const std::string& text) {
    double number = 0;
    const bool is_time = CLI::detail::lexical_cast(text, number) && std::isfinite(number) && number > 0;
    return is_time ? "" : "'" + text + "' is not a duration; give a number of minutes above 0";
  });
  minutes->type_name("M");
  steps->excludes(tokens)->excludes(minutes);
  tokens->excludes(minutes);
  add_size_option(*command, "--stop-at", options->stop_at, "Save and stop at this step; --resume continues");
  add_size_option(*command, "--batch", options->batch,
                  "Sequences per micro-batch; the same as --set batch=N");
  command
      ->add_option(
          "--context-parallel", options->context_parallel,
          with_default(
              "Ranks that share each text, every one with a part of its chunks; so many of those that "
              "gca launch or another launcher starts",
              int64_t{options->context_parallel}))
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  command
      ->add_option(
          "--cp-scheme", options->cp_scheme,
          with_default("How ranks that share texts exchange keys and values of full attention: gather, "
                       "all at once; zigzag, round a ring while they compute; ring, the same with "
                       "positions in a row, and the last rank has the most work",
                       options->cp_scheme))
      ->check(CLI::IsMember({"gather", "zigzag", "ring"}))
      ->type_name("NAME");
  CLI::Option* resume =
      command->add_flag("--resume", options->resume, "Continue from the checkpoint in --output");
  CLI::Option* init =
      command->add_option("--init", options->init, "Start from the weights of this checkpoint")
          ->type_name("CHECKPOINT")
          ->excludes(resume);
  CLI::Option* branch =
      command
          ->add_option(
              "--branch", options->branch,
              "Continue the run of this checkpoint in --output: with its moments, its place in the data "
              "and its schedule")
          ->type_name("CHECKPOINT")
          ->excludes(resume);
  init->excludes(branch);
  command
      ->add_option(
          "--change", options->changes,
          "With --resume or --branch: continue with another value of an optimizer setting, KEY=VALUE; may be "
          "repeated")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--keep", options->keep,
                   "Keep checkpoints in kept/: the N newest, or the one with the lowest validation loss "
                   "(best); may be repeated")
      ->type_name("N|best")
      ->expected(1)
      ->take_all()
      ->check([](const std::string& text) {
        const bool is_count =
            !text.empty() && text.size() < 7 && text.find_first_not_of("0123456789") == std::string::npos;
        return is_count || text == "best" ? "" : "'" + text + "' is neither a number of checkpoints nor best";
      });
  command
      ->add_option(
          "--start-up", options->start_up,
          "Layers that can copy and choose, to begin text training with: shipped, with gca for the sizes "
          "of some presets; train, by the first phases of the run, kept in kept/start-up; none; or a "
          "checkpoint, under a new vocabulary. The same as --set start_up=...")
      ->type_name("shipped|train|none|CHECKPOINT");
  command->add_flag("--overwrite", options->overwrite, "Replace the run in --output")->excludes(resume);
  CLI::Option* task = command->add_option("--task", options->task, task_help(options->task));
  task->check(CLI::IsMember(tasks::training_task_names()))->type_name("NAME");
  command
      ->add_option(
          "--phases", options->phases,
          "JSON file of training phases: the tasks of each phase, and the settings that change during it")
      ->type_name("FILE")
      ->excludes(task)
      ->excludes(steps)
      ->excludes(tokens)
      ->excludes(minutes);
  command->add_flag("--peak", options->peak,
                    "Measure this machine's rate of matrix products and report utilization");
  command->add_flag("--profile", options->profile,
                    "Show how the time of the steps is spent, by operator, without the first step");
  command->add_flag("--tensorboard", options->tensorboard,
                    "Also write the losses and rates as an event file for TensorBoard, in --output");
  command->add_flag(
      "--print-config", options->print_config,
      "Print every setting and its source, and do not train; with --json, as a file for --config");
  command->add_flag("--dry-run", options->dry_run,
                    "Estimate the parameters, FLOPs, memory and time of the run, and do not start it");
  add_common_options(*command, options->common);
  add_timeout_option(*command, options->timeout_seconds);
  add_tensor_options(*command, options->tensor);
  command->callback([options, command] {
    for (const CLI::Option* option : command->get_options())
      if (option->count() > 0 && !option->get_lnames().empty())
        options->given.insert("--" + option->get_lnames().front());
    if (options->print_config) return print_config(*options);
    if (options->output.empty() && (!options->dry_run || options->resume))
      fail_usage("--output", "is required", "name the folder of the run");
    run_pretrain(*options);
  });
}

}  // namespace gca::app
