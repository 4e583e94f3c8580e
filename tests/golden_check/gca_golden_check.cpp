// gca_golden_check [--dtype fp32|bf16] FILE...
//
// Runs golden cases (NAME.safetensors of a model, with its .act and .grad beside it, or of an attention
// operator), prints the worst error of each quantity, and exits with 1 when one is out of bounds or NaN.
//
// Errors are relative to the largest golden entry of a tensor, absolute for losses. Bounds:
//   fp32  operators 1e-5, model results and gradients 5e-5
//   bf16  at most 2 times (gradients 3 times) the error of the plain bf16 version, which runs beside it, plus
//   kFloor

#include <fmt/core.h>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>

#include "kernels/common/implementation.h"
#include "lib/core/error.h"
#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/kernel_case.h"
#include "tests/golden_check/model_case.h"
#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

double relative_error(const at::Tensor& value, const at::Tensor& golden, bool absolute) {
  if (value.sizes() != golden.sizes()) return std::numeric_limits<double>::infinity();
  if (golden.numel() == 0) return 0.0;
  const at::Tensor wanted = golden.to(at::kDouble);
  const double difference = (value.detach().to(at::kDouble) - wanted).abs().max().item<double>();
  if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
  const double largest = wanted.abs().max().item<double>();
  return absolute || largest == 0.0 ? difference : difference / largest;
}

namespace {

constexpr double kKernelTolerance = 1e-5;
constexpr double kModelTolerance = 5e-5;
// Half a unit of bf16's last place: what rounding the largest entry of an exact result may cost.
constexpr double kFloor = 1.0 / 512;

// The error of one bf16 run is one draw: where a result is a small difference of large numbers (the gradient
// of the retrieval scores), another rounding of the same weights errs several times more or less. The plain
// version's error is the worst of this many runs that differ by less than a rounding of the weights.
constexpr uint64_t kPlainRuns = 5;

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

bool is_input(const std::string& name) {
  return name.rfind("input/", 0) == 0 || name.rfind("weight/", 0) == 0;
}

bool is_gradient(const std::string& name, bool is_kernel) {
  return is_kernel ? name.size() == 2 && name[0] == 'd' : contains(name, "grad/");
}

std::vector<Quantity> check_file(const std::string& path, at::ScalarType dtype) {
  const GoldenFile golden = load_model_case(path);
  const bool is_kernel = golden.metadata.contains("kind");
  const NamedTensors fast = is_kernel ? run_kernel_case(golden, dtype) : run_model_case(golden, dtype);
  std::vector<NamedTensors> plain_runs;
  if (dtype == at::kBFloat16) {
    const kernels::ImplementationGuard guard(kernels::Implementation::reference);
    if (is_kernel) plain_runs.push_back(run_kernel_case(golden, dtype));
    for (uint64_t jitter = 0; !is_kernel && jitter < kPlainRuns; ++jitter)
      plain_runs.push_back(run_model_case(golden, dtype, jitter));
  }
  const double score_rounding =
      is_kernel ? static_cast<double>(std::numeric_limits<float>::epsilon()) * largest_score(golden) : 0.0;

  std::vector<Quantity> quantities;
  for (const auto& [name, stored] : golden.tensors) {
    const bool is_result = is_kernel ? fast.contains(name) : !is_input(name);
    if (!is_result) continue;
    const auto entry = fast.find(name);
    Quantity quantity{.name = name};
    if (entry == fast.end()) fail_run(path, "the run produced no " + name);
    const at::Tensor wanted = is_kernel ? stored : canonical(golden, name);
    const bool is_choice = contains(name, "/idx.");
    const bool absolute = is_choice || contains(name, "loss");
    quantity.error = relative_error(entry->second, wanted, absolute);
    if (is_choice) {
      quantity.bound = 0.0;  // the same chunks
    } else if (dtype == at::kBFloat16) {
      for (const NamedTensors& plain : plain_runs)
        quantity.plain_error =
            std::max(quantity.plain_error, relative_error(plain.at(name), wanted, absolute));
      quantity.bound = (is_gradient(name, is_kernel) ? 3 : 2) * quantity.plain_error + kFloor;
    } else {
      quantity.bound = is_kernel ? kKernelTolerance + score_rounding : kModelTolerance;
    }
    quantities.push_back(quantity);
  }
  return quantities;
}

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

int check_all(const std::vector<std::string>& paths, at::ScalarType dtype) {
  int failed = 0;
  int files = 0;
  for (const std::string& path : paths) {
    if (is_companion(path)) continue;
    ++files;
    if (!print_file(path, check_file(path, dtype), dtype == at::kBFloat16)) ++failed;
  }
  fmt::print("{} of {} files within bounds ({})\n", files - failed, files,
             dtype == at::kBFloat16 ? "bf16" : "fp32");
  return failed == 0 && files > 0 ? 0 : 1;
}

}  // namespace
}  // namespace gca::golden

int main(int argc, char** argv) {
  std::vector<std::string> paths(argv + 1, argv + argc);
  at::ScalarType dtype = at::kFloat;
  const auto flag = std::find(paths.begin(), paths.end(), "--dtype");
  if (flag != paths.end() && flag + 1 != paths.end()) {
    const std::string type = *(flag + 1);
    if (type != "fp32" && type != "bf16") {
      fmt::print(stderr, "gca_golden_check: error: --dtype: is {}; use fp32 or bf16\n", type);
      return 2;
    }
    dtype = type == "bf16" ? at::kBFloat16 : at::kFloat;
    paths.erase(flag, flag + 2);
  }
  if (paths.empty()) {
    fmt::print(stderr, "usage: gca_golden_check [--dtype fp32|bf16] FILE...\n");
    return 2;
  }
  try {
    return gca::golden::check_all(paths, dtype);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gca_golden_check: error: {}\n", error.what());
    return 1;
  }
}
