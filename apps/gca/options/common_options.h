#pragma once
// Flags that every subcommand takes, and how its report leaves the process.

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/json/json_report.h"

namespace gca::app {

struct CommonOptions {
  std::string report_path;  ///< --report; empty: report.json in the output folder, if there is one
  bool json = false;        ///< the report on standard output instead of the human table
  bool quiet = false;       ///< no human table, no progress
  int threads = 0;          ///< 0: every processor this process may use
  uint64_t seed = 0;
};

struct TensorOptions {
  std::string device = "cpu";
  std::string dtype = "auto";
  std::string weight_dtype = "auto";
  std::string kv_dtype = "auto";
};

/// --report, --json, --quiet, --threads, --seed.
void add_common_options(CLI::App& command, CommonOptions& options);
/// What --weight-dtype offers beside auto.
inline constexpr const char* kInt8Weights = "int8";
/// What --device offers.
inline const std::vector<std::string> kDevices = {"cpu", "cuda"};

/// --device, with what of kDevices the command can use, and --dtype.
void add_tensor_options(CLI::App& command, TensorOptions& options,
                        const std::vector<std::string>& devices = kDevices);

/// --weight-dtype, of commands that do not train.
void add_weight_dtype_option(CLI::App& command, TensorOptions& options);

/// --memory, --memory-dtype: where chunk memory is kept.
void add_memory_options(CLI::App& command, std::string& memory, std::string& dtype);

/// "HELP (default: VALUE)": a default that stands in a help text is printed, never typed. Numbers as sizes:
/// 4K.
std::string with_default(const std::string& help, int64_t value);
std::string with_default(const std::string& help, double value);
std::string with_default(const std::string& help, const std::string& value);

/// A count that takes suffixes (16K, 1M; K = 1024).
CLI::Option* add_size_option(CLI::App& command, const std::string& name, int64_t& value,
                             const std::string& help);
/// Counts separated by commas: 1K,16K.
CLI::Option* add_size_list_option(CLI::App& command, const std::string& name, std::vector<int64_t>& values,
                                  const std::string& help);

int thread_count(const CommonOptions& options);
/// "bf16" or "fp32"; auto is bf16 where the processor multiplies bf16 (AVX-512 BF16).
std::string resolved_dtype(const TensorOptions& options);
/// "int8", or resolved_dtype(), which is also what auto means. Throws Error(usage) for another type.
std::string resolved_kv_dtype(const TensorOptions& options);
/// "int8", or resolved_dtype() for auto. Throws Error(usage) for int8 on a device that has no such products.
std::string resolved_weight_dtype(const TensorOptions& options);
/// True when progress lines may be shown: standard error is a terminal and --quiet was not given.
bool shows_progress(const CommonOptions& options);

/// The words of the command line, for reports. Set once by main.
std::vector<std::string>& command_line();

/// A report with schema "gca.<stage>/1", the command line, seed, threads and device filled in. `tensors`: of
/// a stage that computes with tensors; the others use the CPU.
JsonReport begin_report(const std::string& stage, const CommonOptions& options,
                        const TensorOptions& tensors = {});
/// Writes the report to --report, or into `output_folder` (when not empty), and prints it (--json) or `table`.
void finish_report(const JsonReport& report, const CommonOptions& options, const std::string& output_folder,
                   const std::string& table);

}  // namespace gca::app
