// gca help: describes the flags for people, for shells and for man pages.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/help/command_words.h"
#include "apps/gca/help/completions.h"
#include "apps/gca/help/man_options.h"
#include "apps/gca/process/standard_output.h"
#include "lib/core/error.h"
#include "lib/core/json/config_fields.h"

namespace gca::app {
namespace {

struct HelpOptions {
  std::string subcommand;
  std::string format = "text";
};

/// The named subcommand, or the whole of gca for no name.
const CLI::App& find_command(const CLI::App& app, const std::string& name) {
  if (name.empty()) return app;
  for (const CLI::App* command : app.get_subcommands({}))
    if (command->get_name() == name) return *command;
  fail_usage(name, "no such subcommand", "did you mean " + nearest_name(name, subcommand_names(app)) + "?");
}

void run_help(const CLI::App& app, const HelpOptions& options) {
  const CLI::App& command = find_command(app, options.subcommand);
  if (options.format == "text") {
    // App::help() of gca would describe the chosen subcommand, which is this one.
    if (&command == &app)
      return write_output(app.get_formatter()->make_help(&app, "gca", CLI::AppFormatMode::Normal));
    return write_output(command.help("gca"));
  }
  if (options.format == "man") return write_output(man_options(command_words(command)));
  if (!options.subcommand.empty())
    fail_usage("--format " + options.format, "describes all subcommands at once", "leave SUBCOMMAND out");
  const std::vector<CommandWords> commands = all_command_words(app);
  if (options.format == "bash") write_output(bash_completion(commands));
  if (options.format == "zsh") write_output(zsh_completion(commands));
  if (options.format == "fish") write_output(fish_completion(commands));
}

}  // namespace

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

void add_help_command(CLI::App& app) {
  auto options = std::make_shared<HelpOptions>();
  CLI::App* command = app.add_subcommand("help", "Show the help of a subcommand");
  command->add_option("SUBCOMMAND", options->subcommand, "Name of the subcommand");
  command
      ->add_option("--format", options->format,
                   "text: for a terminal; man: the options in the format of a man page; bash, zsh, fish: a "
                   "completion script (default: text)")
      ->check(CLI::IsMember({"text", "man", "bash", "zsh", "fish"}))
      ->type_name("NAME");
  command->callback([&app, options] { run_help(app, *options); });
}

}  // namespace gca::app
