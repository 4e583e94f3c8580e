#include "tests/golden_check/check_file.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/common/implementation.h"
#include "lib/core/error.h"
#include "tests/golden_check/architecture_case.h"
#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/kernel_case.h"
#include "tests/golden_check/llama_case.h"
#include "tests/golden_check/mechanism_case.h"
#include "tests/golden_check/model_case.h"
#include "tests/golden_check/policy_case.h"

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
constexpr double kCheckpointTolerance = 1e-5;
// Half a unit of bf16's last place: what rounding the largest entry of an exact result may cost.
constexpr double kFloor = 1.0 / 512;

// The error of one bf16 run is one draw: where a result is a small difference of large numbers (the gradient
// of the retrieval scores), another rounding of the same weights errs several times more or less. The plain
// version's error is the worst of this many runs that differ by less than a rounding of the weights.
constexpr uint64_t kPlainRuns = 5;

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

/// How a case is run, by its metadata.
struct Runner {
  bool is_kernel = false;  // an operator or a mechanism alone
  bool chooses = false;    // its inference form chooses what to read
  std::function<NamedTensors(at::ScalarType dtype, uint64_t jitter, at::Device device)> run;
  std::function<at::Tensor(const std::string& name)> wanted;
  double score_rounding = 0;
};

Runner runner_of(const GoldenFile& golden) {
  const auto kind = golden.metadata.find("kind");
  const auto gap = golden.metadata.find("choice_gap");
  const bool chooses = gap != golden.metadata.end() && gap->second != "inf";
  const auto as_stored = [&](const std::string& name) { return golden.tensors.at(name); };
  if (kind == golden.metadata.end())
    return {false, false,
            [&](at::ScalarType dtype, uint64_t jitter, at::Device device) {
              return run_model_case(golden, dtype, jitter, device);
            },
            [&](const std::string& name) { return canonical(golden, name); }};
  if (kind->second == "model")
    return {false, chooses,
            [&](at::ScalarType dtype, uint64_t jitter, at::Device device) {
              return run_architecture_case(golden, dtype, jitter, device);
            },
            as_stored};
  if (golden.metadata.contains("parameters"))
    return {true, chooses,
            [&](at::ScalarType dtype, uint64_t, at::Device device) {
              return run_mechanism_case(golden, dtype, device);
            },
            as_stored};
  return {true, false,
          [&](at::ScalarType dtype, uint64_t, at::Device device) {
            return run_kernel_case(golden, dtype, device);
          },
          as_stored, static_cast<double>(std::numeric_limits<float>::epsilon()) * largest_score(golden)};
}

bool is_choice(const std::string& name) {
  return name == "idx" || name == "codes" || contains(name, "/idx.") || contains(name, "/codes.");
}

/// Results of a case that chooses, in its inference form or, codes of keys, in both: bf16 may choose otherwise,
/// and then all but the loss may differ.
bool follows_choice(const std::string& name, const GoldenFile& golden) {
  if (golden.tensors.contains("act/codes.0"))
    return !contains(name, "/loss") && !contains(name, "/objective");
  return is_choice(name) || name == "inference_out" || (name.rfind("eval/", 0) == 0 && name != "eval/loss");
}

bool is_input(const std::string& name) {
  return name.rfind("input/", 0) == 0 || name.rfind("weight/", 0) == 0;
}

/// Arguments of a case of attention alone.
bool is_attention_argument(const std::string& name) {
  return name == "q" || name == "k" || name == "v" || name == "dout";
}

bool is_gradient(const std::string& name, bool is_kernel, const GoldenFile& golden) {
  return is_kernel ? name[0] == 'd' && golden.tensors.contains(name.substr(1)) : contains(name, "grad/");
}

/// What a result is compared with. Where a case of a related architecture stores no results of the form that
/// reads texts, they are those of the form that trains.
std::map<std::string, std::string> wanted_names(const GoldenFile& golden, bool is_kernel,
                                                const NamedTensors& results) {
  std::map<std::string, std::string> names;
  for (const auto& [name, stored] : golden.tensors)
    if (is_kernel ? results.contains(name) : !is_input(name)) names[name] = name;
  if (!is_kernel && golden.metadata.contains("kind"))
    for (const char* result : {"logits", "token_loss", "loss"})
      names.try_emplace(std::string("eval/") + result, std::string("act/") + result);
  return names;
}

}  // namespace

bool runs_on_the_cpu_alone(const std::string& path) {
  return is_llama_case(path) || is_policy_case(load_golden_file(path));
}

int64_t head_dim_of(const std::string& path) {
  const GoldenFile golden = load_model_case(path);
  const auto kind = golden.metadata.find("kind");
  if (kind == golden.metadata.end()) return model_config_of(golden).head_dim();
  if (kind->second == "model") return architecture_config_of(golden).head_dim();
  const auto q = golden.tensors.find("q");
  return q == golden.tensors.end() ? 0 : q->second.size(-1);
}

namespace {

/// Runs of a case in which weights are those of a checkpoint: none of its results is a gradient of a weight.
using CheckpointRun = std::function<NamedTensors(uint64_t jitter)>;

/// fp32: choices are those of the golden file, numbers within the bound. bf16, where scores that are near to
/// each other may change places: of a case that chooses the logits alone.
std::vector<Quantity> check_checkpoint_case(const std::string& path, const GoldenFile& golden,
                                            at::ScalarType dtype, const CheckpointRun& run) {
  const bool is_bf16 = dtype == at::kBFloat16;
  const NamedTensors fast = run(0);
  std::vector<NamedTensors> plain_runs;
  if (is_bf16) {
    const kernels::ImplementationGuard guard(kernels::Implementation::reference);
    for (uint64_t jitter = 0; jitter < kPlainRuns; ++jitter) plain_runs.push_back(run(jitter));
  }
  const double score_rounding =
      static_cast<double>(std::numeric_limits<float>::epsilon()) * largest_attention_score(golden);
  const bool chooses = std::any_of(golden.tensors.begin(), golden.tensors.end(), [](const auto& one) {
    return !is_input(one.first) && one.second.scalar_type() == at::kInt;
  });
  std::vector<Quantity> quantities;
  for (const auto& [name, wanted] : golden.tensors) {
    const bool is_chosen = wanted.scalar_type() == at::kInt;
    if (is_input(name) || is_attention_argument(name) || (is_bf16 && chooses && name != "logits")) continue;
    if (!fast.contains(name)) fail_run(path, "the run produced no " + name);
    Quantity quantity{.name = name};
    quantity.error = relative_error(fast.at(name), wanted, is_chosen);
    quantity.bound = is_chosen ? 0.0 : kCheckpointTolerance + score_rounding;
    if (is_bf16) {
      for (const NamedTensors& plain : plain_runs)
        quantity.plain_error = std::max(quantity.plain_error, relative_error(plain.at(name), wanted, false));
      quantity.bound = (is_gradient(name, true, golden) ? 3 : 2) * quantity.plain_error + kFloor;
    }
    quantities.push_back(quantity);
  }
  return quantities;
}

}  // namespace

std::vector<Quantity> check_file(const std::string& path, at::ScalarType dtype, at::Device device) {
  if (is_llama_case(path)) {
    const GoldenFile expected = load_llama_case(path);
    return check_checkpoint_case(path, expected, dtype, [&](uint64_t jitter) {
      return run_llama_case(path, expected, dtype, jitter);
    });
  }
  const GoldenFile golden = load_model_case(path);
  if (is_policy_case(golden))
    return check_checkpoint_case(
        path, golden, dtype, [&](uint64_t jitter) { return run_policy_case(path, golden, dtype, jitter); });
  const Runner runner = runner_of(golden);
  const bool is_kernel = runner.is_kernel;
  const NamedTensors fast = runner.run(dtype, 0, device);
  std::vector<NamedTensors> plain_runs;
  if (dtype == at::kBFloat16) {
    const kernels::ImplementationGuard guard(kernels::Implementation::reference);
    for (uint64_t jitter = 0; jitter < (is_kernel ? 1 : kPlainRuns); ++jitter)
      plain_runs.push_back(runner.run(dtype, jitter, at::kCPU));
  }

  std::vector<Quantity> quantities;
  for (const auto& [name, stored_name] : wanted_names(golden, is_kernel, fast)) {
    if (dtype == at::kBFloat16 && runner.chooses && follows_choice(name, golden)) continue;
    const auto entry = fast.find(name);
    Quantity quantity{.name = name};
    if (entry == fast.end()) fail_run(path, "the run produced no " + name);
    const at::Tensor wanted = runner.wanted(stored_name);
    const bool absolute = is_choice(name) || contains(name, "loss") || contains(name, "objective");
    quantity.error = relative_error(entry->second, wanted, absolute);
    if (is_choice(name)) {
      quantity.bound = 0.0;  // the same chunks, or codes
    } else if (dtype == at::kBFloat16) {
      for (const NamedTensors& plain : plain_runs)
        quantity.plain_error =
            std::max(quantity.plain_error, relative_error(plain.at(name), wanted, absolute));
      quantity.bound = (is_gradient(name, is_kernel, golden) ? 3 : 2) * quantity.plain_error + kFloor;
    } else {
      quantity.bound = is_kernel ? kKernelTolerance + runner.score_rounding : kModelTolerance;
    }
    quantities.push_back(quantity);
  }
  return quantities;
}

}  // namespace gca::golden
