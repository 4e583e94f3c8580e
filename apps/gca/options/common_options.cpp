#include "apps/gca/options/common_options.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <unistd.h>

#include "apps/gca/help/command_words.h"
#include "apps/gca/process/result_files.h"
#include "apps/gca/version.h"
#include "kernels/common/cpu_features.h"
#include "lib/core/error.h"
#include "lib/core/machine/processors.h"
#include "lib/core/size_suffix.h"

namespace gca::app {

void add_common_options(CLI::App& command, CommonOptions& options) {
  const std::string group = "Common";
  command.add_option("--report", options.report_path, "Write the JSON report to this file")
      ->type_name("FILE")
      ->group(group);
  command.add_flag("--json", options.json, "Print the JSON report instead of the table")->group(group);
  command.add_flag("--quiet", options.quiet, "Print neither the table nor progress")->group(group);
  command
      .add_option(
          "--threads", options.threads,
          "Number of threads (default: the least of processor affinity, quota of the control group, and "
          "OMP_NUM_THREADS)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N")
      ->group(group);
  command
      .add_option("--seed", options.seed,
                  with_default("Seed of all random numbers", std::to_string(options.seed)))
      ->check([](const std::string& text) {  // CLI11 would take -1, and 2^64 and more as 2^64 - 1
        uint64_t seed = 0;
        const char* end = text.data() + text.size();
        const auto [rest, error] = std::from_chars(text.data(), end, seed);
        const bool is_seed = error == std::errc() && rest == end;
        return is_seed ? "" : "'" + text + "' is not a seed; give a whole number from 0 to 2^64 - 1";
      })
      ->type_name("N")
      ->group(group);
}

void add_tensor_options(CLI::App& command, TensorOptions& options, const std::vector<std::string>& devices) {
  command
      .add_option("--device", options.device,
                  with_default("Device to compute on, " + joined(devices, " or "), options.device))
      ->check(CLI::IsMember(devices))
      ->type_name("NAME");
  command
      .add_option("--dtype", options.dtype,
                  "Compute type, bf16 or fp32 (default: bf16 if the processor multiplies bf16)")
      ->check(CLI::IsMember({"auto", "bf16", "fp32"}))
      ->type_name("NAME");
}

void add_weight_dtype_option(CLI::App& command, TensorOptions& options) {
  command
      .add_option("--weight-dtype", options.weight_dtype,
                  with_default("Type of the weights that products read: int8, with one scale per row, which "
                               "decodes faster; or auto, the type of --dtype",
                               options.weight_dtype))
      ->check(CLI::IsMember({"auto", kInt8Weights}))
      ->type_name("NAME");
}

void add_memory_options(CLI::App& command, std::string& memory, std::string& dtype) {
  command
      .add_option("--memory", memory,
                  with_default("Where to keep chunk memory: ram, or file:PATH, a scratch file that is "
                               "removed when the process "
                               "ends",
                               memory))
      ->type_name("WHERE");
  command
      .add_option(
          "--memory-dtype", dtype,
          "Type of the keys and values in chunk memory, bf16, fp32 or int8 (default: the type of --dtype)")
      ->check(CLI::IsMember({"bf16", "fp32", "int8"}))
      ->type_name("NAME");
}

std::string with_default(const std::string& help, int64_t value) {
  return with_default(help, size_text(value));
}

std::string with_default(const std::string& help, double value) {
  return with_default(help, fmt::format("{}", value));
}

std::string with_default(const std::string& help, const std::string& value) {
  return help + " (default: " + value + ")";
}

CLI::Option* add_size_option(CLI::App& command, const std::string& name, int64_t& value,
                             const std::string& help) {
  return command
      .add_option_function<std::string>(
          name, [name, &value](const std::string& text) { value = parse_size(name, text); }, help)
      ->type_name("N");
}

CLI::Option* add_size_list_option(CLI::App& command, const std::string& name, std::vector<int64_t>& values,
                                  const std::string& help) {
  return command
      .add_option_function<std::string>(
          name, [name, &values](const std::string& text) { values = parse_size_list(name, text); }, help)
      ->type_name("N,N,...");
}

int thread_count(const CommonOptions& options) {
  if (options.threads > 0) return options.threads;
  return usable_processors();
}

std::string resolved_dtype(const TensorOptions& options) {
  if (options.dtype != "auto") return options.dtype;
  if (options.device == "cuda") return "bf16";
  return kernels::cpu_multiplies_bf16() ? "bf16" : "fp32";
}

std::string resolved_weight_dtype(const TensorOptions& options) {
  if (options.weight_dtype == "auto") return resolved_dtype(options);
  if (options.device != "cpu")
    fail_usage("--weight-dtype " + options.weight_dtype, "is not available on --device " + options.device,
               "leave it out, or use --device cpu");
  return options.weight_dtype;
}

std::string resolved_kv_dtype(const TensorOptions& options) {
  const std::string dtype = resolved_dtype(options);
  if (options.kv_dtype == "auto") return dtype;
  if (options.kv_dtype != "int8" && options.kv_dtype != dtype)
    fail_usage("--kv-dtype " + options.kv_dtype, "is not possible with --dtype " + dtype,
               "use " + dtype + " or int8");
  return options.kv_dtype;
}

bool shows_progress(const CommonOptions& options) {
  return !options.quiet && isatty(STDERR_FILENO) != 0;
}

std::vector<std::string>& command_line() {
  static std::vector<std::string> words;
  return words;
}

JsonReport begin_report(const std::string& stage, const CommonOptions& options,
                        const TensorOptions& tensors) {
  if (!options.report_path.empty()) require_writable_file("--report", options.report_path);
  JsonReport report("gca." + stage + "/1", program_version(), command_line());
  report.seed = options.seed;
  report.threads = thread_count(options);
  report.device = tensors.device;
  return report;
}

void finish_report(const JsonReport& report, const CommonOptions& options, const std::string& output_folder,
                   const std::string& table) {
  finish_report_with_files(report, options, output_folder, table, {});
}

}  // namespace gca::app
