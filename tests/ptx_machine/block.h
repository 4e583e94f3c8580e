#pragma once
// One block of a launch: its warps, shared and local memory, barriers, and where counts and reports go.

#include <array>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "tests/ptx_machine/machine.h"
#include "tests/ptx_machine/shared_memory.h"

namespace ptx {

class Warp;

/// Collects reports of a launch; the same fault at one place counts once.
class ReportLog {
 public:
  void add(Report report);
  std::vector<Report> take() { return std::move(reports_); }

 private:
  std::vector<Report> reports_;
};

/// What all blocks of a launch share.
struct LaunchState {
  const Program& program;
  const Launch& launch;
  GlobalMemory& memory;
  const RunOptions& options;
  std::vector<DeviceAddress> symbol_addresses;  // beside Program::symbols
  std::vector<uint64_t> executions;             // of every instruction, by warps
  ReportLog log;
  Counters counters;
};

/// mbarrier object: lives at a shared address, its state beside it.
struct Mbarrier {
  uint32_t expected = 0;  // arrivals of a phase
  uint32_t pending = 0;   // still missing
  int64_t pending_bytes = 0;
  uint32_t phase = 0;
  SeenClocks released = {};  // clocks of those who arrived, and of phases before
};

class Block {
 public:
  explicit Block(LaunchState& launch_state);
  ~Block();

  /// Runs block `index` from start to end.
  void run(uint64_t linear_index);

  LaunchState& state;
  SharedMemory shared;
  Dim3 index;
  uint64_t linear_index = 0;
  uint32_t thread_count = 0;
  std::map<uint32_t, Mbarrier> mbarriers;
  uint64_t progress = 0;  // counts events that may wake a waiting warp
  std::vector<std::unique_ptr<Warp>> warps;

  struct NamedBarrier {
    uint32_t expected = 0;  // threads
    uint32_t arrived = 0;
    std::vector<uint32_t> arrivals;  // warps
    std::vector<uint32_t> waiting;   // those of them that wait
  };
  /// A warp comes to a wgmma: whether it is the last of its four. The others wait.
  bool meet_warpgroup(uint32_t warp);
  /// A warp arrives at barrier `number`, `threads` in all expected; opens it when it is the last.
  void arrive(uint32_t number, uint32_t warp, uint32_t threads, bool waits);

 private:
  void open(NamedBarrier& barrier);
  void report_stuck();
  void check_warpgroups();

  std::map<uint32_t, NamedBarrier> barriers_;
  std::array<uint32_t, kMaxWarps / 4> meetings_ = {};  // of a warpgroup: how many have come
};

}  // namespace ptx
