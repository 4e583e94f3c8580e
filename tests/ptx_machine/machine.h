#pragma once
// Runs a launch of a kernel on the CPU: every access checked, every instruction counted.
//
//   ptx::GlobalMemory memory;
//   Params params{.x = memory.add("x", std::span(x), ptx::Access::read_only), ...};
//   ptx::Outcome outcome = ptx::run(program, {.grid = {8}, .block = {128}, .arguments =
//   ptx::arguments(params)}, memory); CHECK(outcome.reports_text() == "");
//
// Blocks run one after the other; the warps of a block in a random order from one synchronisation to the
// next. A launch uses one thread of the host: run launches side by side to use more.

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/ptx_machine/counters.h"
#include "tests/ptx_machine/global_memory.h"
#include "tests/ptx_machine/program.h"
#include "tests/ptx_machine/report.h"

namespace ptx {

struct Launch {
  Dim3 grid;
  Dim3 block;
  int64_t dynamic_shared_bytes = 0;
  std::vector<uint8_t> arguments;  // the kernel's parameters as the ABI lays them out
};

/// The argument bytes of a kernel with parameters of these types.
template <class... T>
std::vector<uint8_t> arguments(const T&... values) {
  std::vector<uint8_t> bytes;
  const auto append = [&](const auto& value) {
    const size_t place =
        (bytes.size() + alignof(decltype(value)) - 1) / alignof(decltype(value)) * alignof(decltype(value));
    bytes.resize(place + sizeof(value));
    std::memcpy(bytes.data() + place, &value, sizeof(value));
  };
  (append(values), ...);
  return bytes;
}

struct RunOptions {
  uint64_t seed = 1;        ///< of the order of warps
  bool check_races = true;  ///< in global memory; in shared memory they always are
  bool adversary = false;   ///< approximations off by up to 2 ulp, sums of mma in a shuffled order
  uint64_t instruction_limit = uint64_t{1} << 36;  ///< of a warp: an endless loop is reported
  Dim3 first_block = {0, 0, 0};  ///< only `blocks` blocks from here on, in linear order; 0 for all
  uint64_t blocks = 0;
};

struct Outcome {
  std::vector<Report> reports;
  Counters counters;
  std::vector<uint64_t> executions;  ///< how often warps executed each instruction of Program::code

  std::string reports_text() const;
  bool has(Fault fault) const;
};

/// Throws Error where the launch itself is wrong.
Outcome run(const Program& program, const Launch& launch, GlobalMemory& memory,
            const RunOptions& options = {});

}  // namespace ptx
