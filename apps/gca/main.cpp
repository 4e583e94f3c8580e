// gca: grouped cross-attention from the command line. Parses, dispatches, and turns every error into one line
// and an exit status: 0 done, 1 failed, 2 wrong usage or unusable input, 130 interrupted.

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <string>

#include "apps/gca/commands.h"
#include "apps/gca/common_options.h"
#include "apps/gca/interrupt.h"
#include "apps/gca/standard_output.h"
#include "lib/core/config_fields.h"
#include "lib/core/error.h"
#include "lib/core/json_report.h"

namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kInterrupted = 130;

/// "gca tokenize" once the subcommand is known, "gca" before.
std::string program_name(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? "gca" : "gca " + chosen.front()->get_name();
}

void add_help_command(CLI::App& app) {
  auto name = std::make_shared<std::string>();
  CLI::App* help = app.add_subcommand("help", "Tell about a subcommand");
  help->add_option("SUBCOMMAND", *name, "Its name");
  help->callback([&app, name] {
    if (name->empty()) return gca::write_output(app.help());
    CLI::App* command = app.get_subcommand_no_throw(*name);
    if (command == nullptr) {
      std::vector<std::string> known;
      for (const CLI::App* one : app.get_subcommands({})) known.push_back(one->get_name());
      gca::fail_usage(*name, "no such subcommand", "did you mean " + gca::nearest_name(*name, known) + "?");
    }
    gca::write_output(command->help("gca"));
  });
}

/// The nearest flag for a mistyped one: "; did you mean --output?". Empty where nothing was mistyped.
std::string flag_hint(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  for (const std::string& word : command.remaining()) {
    if (!word.starts_with("--")) continue;
    std::vector<std::string> known;
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    return "; did you mean " + gca::nearest_name(word.substr(0, word.find('=')), known) + "?";
  }
  return "";
}

int report_error(const CLI::App& app, std::string message, int status) {
  for (char& c : message)
    if (c == '\n') c = ' ';
  std::cerr << program_name(app) << ": error: " << message << "\n";
  return status;
}

/// CLI11 throws for --help and --version too; everything else of it is wrong usage.
int finish_parse(CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  if (app.get_subcommands().empty() && app.remaining_size() == 0 && error.get_name() == "RequiredError")
    return report_error(app, "no subcommand; gca --help lists them", kUsage);
  const auto chosen = app.get_subcommands();
  return report_error(app, error.what() + flag_hint(app), kUsage);
}

int run(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    gca::flush_output();
    return kDone;
  } catch (const CLI::ParseError& error) {
    return finish_parse(app, error);
  } catch (const gca::ClosedPipe&) {
    return kDone;
  } catch (const gca::Interrupted&) {
    return report_error(app, "interrupted", kInterrupted);
  } catch (const gca::Error& error) {
    return report_error(app, error.what(), static_cast<int>(error.kind()));
  } catch (const std::exception& error) {
    const std::string message = error.what();
    return report_error(app, "internal error: " + message.substr(0, message.find('\n')), kFailed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  static_assert(static_cast<int>(gca::ErrorKind::failed) == kFailed &&
                static_cast<int>(gca::ErrorKind::usage) == kUsage);
  // A reader that goes away is seen by the write that fails, so that a training run outlives the pager of its
  // log.
  std::signal(SIGPIPE, SIG_IGN);
  gca::command_line().assign(argv, argv + argc);

  CLI::App app("Grouped cross-attention: a language model that retrieves from its own past.", "gca");
  app.set_version_flag("--version", [] { return std::string("gca ") + gca::version(); });
  app.require_subcommand(1);
  gca::add_tokenize_command(app);
  gca::add_chunk_command(app);
  // gca::add_pretrain_command(app);
  // gca::add_eval_command(app);
  // gca::add_generate_command(app);
  // gca::add_inspect_retrieval_command(app);
  add_help_command(app);
  return run(app, argc, argv);
}
