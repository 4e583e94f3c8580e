#pragma once
// The subcommands: each adds its flags to the application, with a callback that runs the stage. Each lives in
// cmd_<name>.cpp; lib/ does the work.

#include <CLI/App.hpp>
#include <exception>
#include <string>
#include <vector>

namespace gca::app {

void add_tokenize_command(CLI::App& app);
void add_chunk_command(CLI::App& app);
void add_pretrain_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_generate_command(CLI::App& app);
void add_inspect_retrieval_command(CLI::App& app);
void add_memory_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_import_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_convert_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_launch_command(CLI::App& app);
/// Must come last: it describes the subcommands added before it.
void add_help_command(CLI::App& app);

std::vector<std::string> subcommand_names(const CLI::App& app);

/// Of a process that Interrupted (lib/core/interrupted.h) ended.
constexpr int kInterruptedStatus = 130;

/// Thrown where all has been said, by this process or another: it ends with this status.
struct EndedWith : std::exception {
  explicit EndedWith(int its_status) : status(its_status) {}
  const char* what() const noexcept override { return "ended"; }
  int status;
};

}  // namespace gca::app
