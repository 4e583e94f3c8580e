// gca's side of tensor_stages.h: the process goes on as gca-tensor, with the same words, streams and number.

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include "apps/gca/options/common_options.h"
#include "apps/gca/options/rank_options.h"
#include "apps/gca/process/standard_output.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/parallel/rank_environment.h"

namespace gca::app {
namespace {

/// gca-tensor: beside gca in a build folder, under libexec where it is installed.
std::filesystem::path tensor_program() {
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  if (error) fail_run("/proc/self/exe", "cannot be read: " + error.message());
  const std::array places = {folder / "gca-tensor", folder / "../libexec/gca/gca-tensor"};
  for (const auto& place : places)
    if (std::filesystem::exists(place, error)) return place;
  fail_run(places.front().string(), "is missing, and so is " + places.back().lexically_normal().string(),
           "install gca whole, or build it again");
}

/// Memory in huge pages, where the system gives them to those who ask: weights are read a quarter faster. The
/// allocator reads this when a program starts, so gca says it to gca-tensor; what the user has set stays.
void ask_for_huge_pages() {
  constexpr const char* kTunables = "GLIBC_TUNABLES";
  const char* set = std::getenv(kTunables);
  std::string tunables = set == nullptr ? "" : set;
  if (tunables.find("glibc.malloc.hugetlb") != std::string::npos) return;
  if (!tunables.empty()) tunables += ":";
  setenv(kTunables, (tunables + "glibc.malloc.hugetlb=1").c_str(), /*overwrite=*/1);
}

[[noreturn]] void hand_over() {
  flush_output();
  ask_for_huge_pages();
  const std::string program = tensor_program().string();
  std::vector<char*> words;
  for (std::string& word : command_line()) words.push_back(word.data());
  words.push_back(nullptr);
  execv(program.c_str(), words.data());
  fail_run(program, std::string("cannot be started: ") + std::strerror(errno), "install gca whole");
}

}  // namespace

void run_pretrain(const PretrainOptions& /*options*/) {
  hand_over();
}

void run_eval(const EvalOptions& /*options*/) {
  hand_over();
}

void run_shared_tokenize(const TokenizeOptions& /*options*/) {
  hand_over();
}

void run_generate(const GenerateOptions& /*options*/) {
  hand_over();
}

void run_inspect(const InspectOptions& /*options*/) {
  hand_over();
}

void run_memory_build(const MemoryOptions& /*options*/) {
  hand_over();
}

void run_bench(const BenchOptions& /*options*/) {
  hand_over();
}

void run_import(const ImportOptions& /*options*/) {
  hand_over();
}

void run_export(const ExportOptions& /*options*/) {
  hand_over();
}

void run_convert(const ConvertOptions& /*options*/) {
  hand_over();
}

bool is_told_by_another_rank(const std::string& /*line*/, int /*status*/) {
  try {
    // gca-tensor finds the same error, and can ask the others.
    if (shares_work(command_line()) && parallel::rank_environment().size > 1) hand_over();
  } catch (const Error&) {  // of the environment, or of the installation
  }
  return false;
}

}  // namespace gca::app
