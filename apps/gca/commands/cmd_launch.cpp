// gca launch: several processes on this machine as the ranks of one run.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "apps/gca/commands/commands.h"
#include "apps/gca/help/command_words.h"
#include "apps/gca/options/rank_options.h"
#include "apps/gca/process/rank_processes.h"
#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/core/machine/processors.h"

namespace gca::app {
namespace {

struct LaunchOptions {
  int ranks = 1;
  std::vector<std::string> command;
};

void launch(const LaunchOptions& options) {
  const std::string& name = options.command.front();
  if (std::find(kSharingCommands.begin(), kSharingCommands.end(), name) == kSharingCommands.end())
    fail_usage(name, "does not share its work among ranks",
               "launch one of " + joined(kSharingCommands, ", "));
  const int processors = available_processors();
  if (options.ranks > processors)
    fmt::print(stderr, "gca launch: note: {} ranks on {} take longer than {}\n", options.ranks,
               counted(processors, "processor"), processors);
  // OMP_NUM_THREADS is of a process, and each rank is one.
  const int threads = std::min(std::max(1, processors / options.ranks), usable_processors());
  const int status = run_ranks(options.ranks, threads, options.command);
  if (status != 0) throw EndedWith(status);
}

}  // namespace

void add_launch_command(CLI::App& app) {
  auto options = std::make_shared<LaunchOptions>();
  CLI::App* command = app.add_subcommand("launch", "Run a command as several processes that share its work");
  command
      ->add_option("-n,--ranks", options->ranks, "Number of processes; each has its share of the processors")
      ->required()
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  command
      ->add_option("COMMAND", options->command,
                   "After --, the subcommand (" + joined(kSharingCommands, ", ") + ") and its flags")
      ->required();
  command->callback([options] { launch(*options); });
}

}  // namespace gca::app
