#include "tests/ptx_machine/machine.h"

#include <algorithm>

#include "tests/ptx_machine/block.h"
#include "tests/ptx_machine/ptx_error.h"
#include "tests/ptx_machine/warp.h"

namespace ptx {

std::string_view name_of(Fault fault) {
  switch (fault) {
    case Fault::out_of_bounds:
      return "out of bounds";
    case Fault::misaligned:
      return "misaligned";
    case Fault::write_to_read_only:
      return "write to read-only memory";
    case Fault::uninitialised_register:
      return "uninitialised register";
    case Fault::uninitialised_memory:
      return "uninitialised memory";
    case Fault::shared_race:
      return "race in shared memory";
    case Fault::global_race:
      return "race in global memory";
    case Fault::async_in_flight:
      return "asynchronous operation in flight";
    case Fault::missing_fence:
      return "missing fence";
    case Fault::bad_membermask:
      return "bad membermask";
    case Fault::divergent_barrier:
      return "divergent barrier";
    case Fault::divergent_warpgroup:
      return "divergent warpgroup";
    case Fault::deadlock:
      return "deadlock";
    case Fault::invalid_operation:
      return "invalid operation";
  }
  return "?";
}

std::string Report::text() const {
  const auto coordinates =
      std::to_string(block.x) + "," + std::to_string(block.y) + "," + std::to_string(block.z);
  std::string result = std::string(name_of(fault)) + " at " + place + ", block " + coordinates + ", thread " +
                       std::to_string(thread) + ", address " + std::to_string(address) + ": " + detail;
  if (times > 1) result += " (" + std::to_string(times) + " times)";
  return result + " [" + kernel + "]";
}

std::string Outcome::reports_text() const {
  constexpr size_t kShown = 8;
  std::string result;
  for (size_t i = 0; i < std::min(kShown, reports.size()); ++i) result += reports[i].text() + "\n";
  if (reports.size() > kShown) result += "and " + std::to_string(reports.size() - kShown) + " more\n";
  return result;
}

bool Outcome::has(Fault fault) const {
  return std::any_of(reports.begin(), reports.end(),
                     [&](const Report& report) { return report.fault == fault; });
}

Counters& Counters::operator+=(const Counters& other) {
  blocks += other.blocks;
  warp_instructions += other.warp_instructions;
  thread_instructions += other.thread_instructions;
  issue_slots += other.issue_slots;
  for (size_t i = 0; i < unit_slots.size(); ++i) unit_slots[i] += other.unit_slots[i];
  tensor_macs += other.tensor_macs;
  warpgroup_macs += other.warpgroup_macs;
  shared_wavefronts += other.shared_wavefronts;
  shared_wavefronts_least += other.shared_wavefronts_least;
  global_load_sectors += other.global_load_sectors;
  global_store_sectors += other.global_store_sectors;
  global_accesses += other.global_accesses;
  shuffles += other.shuffles;
  barriers += other.barriers;
  dram_read_bytes += other.dram_read_bytes;
  dram_write_bytes += other.dram_write_bytes;
  return *this;
}

Outcome run(const Program& program, const Launch& launch, GlobalMemory& memory, const RunOptions& options) {
  const uint64_t threads = uint64_t{launch.block.x} * launch.block.y * launch.block.z;
  if (threads == 0 || threads > 1024)
    throw Error(program.name + ": a block of " + std::to_string(threads) + " threads");
  if (static_cast<int64_t>(launch.arguments.size()) != program.parameter_bytes) {
    throw Error(program.name + ": takes " + std::to_string(program.parameter_bytes) +
                " bytes of arguments, got " + std::to_string(launch.arguments.size()));
  }
  const uint64_t blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  const uint64_t first =
      options.first_block.x +
      uint64_t{launch.grid.x} * (options.first_block.y + uint64_t{launch.grid.y} * options.first_block.z);
  const uint64_t end = options.blocks == 0 ? blocks : std::min(blocks, first + options.blocks);

  std::vector<DeviceAddress> symbol_addresses;
  for (const auto& symbol : program.symbols) {
    const std::string& name = symbol.second;
    const auto& variables = program.module->variables;
    const auto variable = std::find_if(variables.begin(), variables.end(),
                                       [&](const Variable& candidate) { return candidate.name == name; });
    std::vector<uint8_t> content = variable->initial_content;
    content.resize(static_cast<size_t>(variable->size_bytes));
    symbol_addresses.push_back(memory.variable(
        name, content, variable->space == StateSpace::constant ? Access::read_only : Access::read_write));
  }
  memory.begin_launch(options.check_races);
  LaunchState state{program,
                    launch,
                    memory,
                    options,
                    std::move(symbol_addresses),
                    std::vector<uint64_t>(program.code.size()),
                    {},
                    {}};
  Block block(state);
  for (uint64_t index = first; index < end; ++index) block.run(index);
  for (size_t i = 0; i < program.code.size(); ++i) {
    const Instruction& in = program.code[i];
    state.counters.warp_instructions += state.executions[i];
    state.counters.issue_slots += state.executions[i] * in.issue_slots;
    state.counters.unit_slots[static_cast<size_t>(in.unit)] += state.executions[i] * in.issue_slots;
  }
  state.counters.dram_read_bytes = memory.bytes_read();
  state.counters.dram_write_bytes = memory.bytes_written();
  return {state.log.take(), state.counters, std::move(state.executions)};
}

}  // namespace ptx
