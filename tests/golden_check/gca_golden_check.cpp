// gca_golden_check [--dtype fp32|bf16] [--device cpu|cuda] [--isa NAME|each] PATH...
//
// Runs golden cases (NAME.safetensors of a model, with its .act and .grad beside it, of an attention operator or
// of a cache policy; the folder of a Llama's checkpoint with expected.safetensors; a folder with a tokenizer and
// expected.json), prints the worst error of each quantity, and exits with 1 when one is out of bounds or NaN.
// --isa chooses the instruction set of the CPU kernels, or runs the files with each that this processor runs
// or emulates.

#include <fmt/core.h>

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/common/instruction_set.h"
#include "lib/device/open_device.h"
#include "tests/golden_check/check_file.h"
#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/quantity_table.h"
#include "tests/golden_check/tokenizer_case.h"

namespace gca::golden {

namespace {

/// "grad/upper.0.gca.wq" -> "grad": quantities of one kind share a line of the table.
std::string kind_of(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return name;
  if (name.rfind("grad/", 0) == 0) return "grad (every weight)";
  std::string kind = name;
  std::replace_if(
      kind.begin(), kind.end(), [](char c) { return c >= '0' && c <= '9'; }, 'N');
  return kind;
}

bool print_file(const std::string& path, const std::vector<Quantity>& quantities, bool with_plain) {
  fmt::print("{}\n", path);
  std::map<std::string, Quantity> worst;
  bool passed = !quantities.empty();
  for (const Quantity& quantity : quantities) {
    passed = passed && quantity.passed();
    const auto share = [](const Quantity& q) { return q.bound > 0 ? q.error / q.bound : q.error * 1e9; };
    const auto [entry, added] = worst.emplace(kind_of(quantity.name), quantity);
    if (!added && !(share(quantity) <= share(entry->second))) entry->second = quantity;
  }
  for (const auto& [kind, quantity] : worst) {
    const std::string plain = with_plain ? fmt::format("  plain {:9.2e}", quantity.plain_error) : "";
    fmt::print("  {:<22} {:9.2e}  bound {:9.2e}{}  {}{}\n", kind, quantity.error, quantity.bound, plain,
               quantity.passed() ? "ok" : "FAILED", quantity.name == kind ? "" : "  " + quantity.name);
  }
  if (quantities.empty()) fmt::print("  nothing to compare  FAILED\n");
  return passed;
}

int check_all(const std::vector<std::string>& paths, at::ScalarType dtype, const std::string& device_name) {
  const at::Device device = device::open_device(device_name, dtype == at::kBFloat16 ? "bf16" : "fp32");
  int failed = 0;
  int files = 0;
  for (const std::string& path : paths) {
    if (is_companion(path)) continue;
    if (is_tokenizer_case(path)) {
      ++files;
      if (!print_file(path, check_tokenizer(path), /*with_plain=*/false)) ++failed;
      continue;
    }
    if (runs_on_the_cpu_alone(path)) {
      if (!device.is_cpu()) {
        fmt::print("{}\n  left out: full attention runs on the CPU\n", path);
        continue;
      }
    } else if (const int64_t dh = head_dim_of(path); !device.is_cpu() && dh != 32 && dh != 64 && dh != 128) {
      fmt::print("{}\n  left out: head_dim {} is none of the CUDA kernels'\n", path, dh);
      continue;
    }
    ++files;
    if (!print_file(path, check_file(path, dtype, device), dtype == at::kBFloat16)) ++failed;
  }
  fmt::print("{} of {} files within bounds ({})\n", files - failed, files,
             dtype == at::kBFloat16 ? "bf16" : "fp32");
  return failed == 0 && files > 0 ? 0 : 1;
}

/// With the set of that name, or with "each" one after another. What the processor cannot multiply is
/// emulated.
int check_with_instruction_sets(const std::string& wanted, const std::vector<std::string>& paths,
                                at::ScalarType dtype) {
  const kernels::ImplementationGuard guard(kernels::Implementation::emulated);
  if (wanted != "each") {
    kernels::use_instruction_set(wanted);
    return check_all(paths, dtype, "cpu");
  }
  int status = 0;
  for (const kernels::InstructionSet& set : kernels::runnable_instruction_sets()) {
    kernels::use_instruction_set(set.name);
    fmt::print("instruction set {}\n", set.name);
    status = std::max(status, check_all(paths, dtype, "cpu"));
  }
  return status;
}

}  // namespace
}  // namespace gca::golden

int main(int argc, char** argv) {
  std::vector<std::string> paths(argv + 1, argv + argc);
  const auto take_flag = [&](const char* name, const std::string& otherwise) {
    const auto flag = std::find(paths.begin(), paths.end(), name);
    if (flag == paths.end() || flag + 1 == paths.end()) return otherwise;
    const std::string value = *(flag + 1);
    paths.erase(flag, flag + 2);
    return value;
  };
  const std::string type = take_flag("--dtype", "fp32");
  const std::string device = take_flag("--device", "cpu");
  const std::string isa = take_flag("--isa", "");
  if ((type != "fp32" && type != "bf16") || (device != "cpu" && device != "cuda")) {
    fmt::print(stderr, "gca_golden_check: error: --dtype is fp32 or bf16, --device cpu or cuda\n");
    return 2;
  }
  if (paths.empty()) {
    fmt::print(stderr,
               "usage: gca_golden_check [--dtype fp32|bf16] [--device cpu|cuda] [--isa NAME|each] PATH...\n");
    return 2;
  }
  try {
    const at::ScalarType dtype = type == "bf16" ? at::kBFloat16 : at::kFloat;
    return isa.empty() ? gca::golden::check_all(paths, dtype, device)
                       : gca::golden::check_with_instruction_sets(isa, paths, dtype);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gca_golden_check: error: {}\n", error.what());
    return 1;
  }
}
