// gca: grouped cross-attention from the command line. Parses, dispatches, and turns every error into one line
// and an exit status: 0 done, 1 failed, 2 wrong usage or unusable input, 130 interrupted.

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "apps/gca/commands/commands.h"
#include "apps/gca/help/help_formatter.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/process/fatal_signals.h"
#include "apps/gca/process/interrupt.h"
#include "apps/gca/process/standard_output.h"
#include "apps/gca/tensor_stages.h"
#include "apps/gca/version.h"
#include "lib/core/error.h"
#include "lib/core/interrupted.h"
#include "lib/core/json/config_fields.h"

namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;

/// "gca tokenize" once the subcommand is known, "gca" before.
std::string program_name(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? "gca" : "gca " + chosen.front()->get_name();
}

std::vector<std::string> long_flags(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return flags;
}

/// "see gca eval --help"
std::string ask_help(const CLI::App& app) {
  return "see " + program_name(app) + " --help";
}

/// What is wrong with the words that nobody took: the first flag among them, else the first of them.
std::string unexpected(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  const std::vector<std::string> words = command.remaining();
  for (const std::string& word : words) {
    const std::string flag = word.substr(0, word.find('='));
    if (flag.starts_with("--"))
      return flag + ": no such flag; did you mean " + gca::nearest_name(flag, long_flags(command)) + "?";
    if (flag.starts_with("-")) return flag + ": no such flag; " + ask_help(app);
  }
  return (words.empty() ? "" : "'" + words.front() + "': ") + "not expected here; " + ask_help(app);
}

int report_error(const CLI::App& app, std::string message, int status) {
  for (char& c : message)
    if (c == '\n') c = ' ';
  const std::string line = program_name(app) + ": error: " + message + "\n";
  if (!gca::app::is_told_by_another_rank(line, status))
    std::cerr << line;  // at once: other ranks write there as well
  return status;
}

/// CLI11 throws for --help and --version too; everything else of it is wrong usage.
int finish_parse(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  if (app.get_subcommands().empty()) {
    const auto words = app.remaining();
    if (words.empty()) return report_error(app, "no subcommand; gca --help lists them", kUsage);
    if (!words.front().starts_with("-"))
      return report_error(app,
                          words.front() + ": no such subcommand; did you mean " +
                              gca::nearest_name(words.front(), gca::app::subcommand_names(app)) + "?",
                          kUsage);
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
    return report_error(app, unexpected(app), kUsage);
  return report_error(app, std::string(error.what()) + "; " + ask_help(app), kUsage);
}

int run(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    gca::app::flush_output();
    return kDone;
  } catch (const CLI::ParseError& error) {
    return finish_parse(app, error);
  } catch (const gca::app::ClosedPipe&) {
    return kDone;
  } catch (const gca::app::EndedWith& end) {
    return end.status;
  } catch (const gca::Interrupted&) {
    return report_error(app, "interrupted", gca::app::kInterruptedStatus);
  } catch (const gca::Error& error) {
    return report_error(app, error.what(), static_cast<int>(error.kind()));
  } catch (const std::bad_alloc&) {
    return report_error(app, "out of memory", kFailed);
  } catch (const std::system_error& error) {  // files that appeared or went away meanwhile
    return report_error(app, error.what(), kFailed);
  } catch (const std::exception& error) {
    const std::string message = error.what();
    // LibTorch's allocator has no type of its own for it.
    if (message.find("not enough memory") != std::string::npos ||
        message.find("can't allocate") != std::string::npos)
      return report_error(app, "out of memory", kFailed);
    return report_error(app, "internal error: " + message.substr(0, message.find('\n')), kFailed);
  }
}

/// Where a supervisor closed a standard stream, its number would go to the next file that is opened, and what
/// is printed would go into that file.
void open_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (fcntl(stream, F_GETFD) < 0 && errno == EBADF)
      static_cast<void>(open("/dev/null", O_RDWR));  // the lowest number that is free: this one
}

}  // namespace

int main(int argc, char** argv) {
  static_assert(static_cast<int>(gca::ErrorKind::failed) == kFailed &&
                static_cast<int>(gca::ErrorKind::usage) == kUsage);
  open_closed_streams();
  gca::app::handle_fatal_signals();
  // A reader that goes away is seen by the write that fails, so that a training run outlives the pager of its log.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // so is a file that may grow no more (ulimit -f)
  // "Save and go on" (interrupt.h): it ends nothing where nothing is saved, nor while gca-tensor is loaded.
  std::signal(SIGUSR1, SIG_IGN);
  gca::app::command_line().assign(argv, argv + argc);

  CLI::App app("Grouped cross-attention: a language model that retrieves from its own past.", "gca");
  app.set_version_flag("--version", [] { return std::string("gca ") + gca::app::program_version(); });
  app.formatter(std::make_shared<gca::app::HelpFormatter>());
  app.require_subcommand(1);
  gca::app::add_tokenize_command(app);
  gca::app::add_chunk_command(app);
  gca::app::add_pretrain_command(app);
  gca::app::add_eval_command(app);
  gca::app::add_generate_command(app);
  gca::app::add_inspect_retrieval_command(app);
  gca::app::add_memory_command(app);
  gca::app::add_bench_command(app);
  gca::app::add_import_command(app);
  gca::app::add_export_command(app);
  gca::app::add_convert_command(app);
  gca::app::add_report_command(app);
  gca::app::add_launch_command(app);
  gca::app::add_help_command(app);
  return run(app, argc, argv);
}
