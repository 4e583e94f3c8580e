#pragma once
// The tables of kernels/CUDA.md: what each kernel costs at the sizes of the presets, counted by the PTX
// machine and put into time by its model.

#include <string>
#include <vector>

#include "tests/ptx_machine/cost_model.h"

namespace gca::testing {

/// A kernel at one size. Counts are of the blocks of one key/value head (or one slice) of the whole work.
struct KernelCost {
  std::string name, size;
  std::string file, kernel;
  ptx::Counters counters;
  int threads = 0;
  int64_t shared_bytes = 0;
  double repeats = 1;           // times the counted blocks that the whole launch is
  double least_dram_bytes = 0;  // of what was counted: inputs read once, results written once
  double least_l2_bytes =
      0;                  // of what was counted: each block reads and writes what it needs once; 0: not said
  double least_macs = 0;  // of what was counted, without masked or repeated work
};

/// The attention kernels of one head at the size of the bounds: 64 queries, 8 chunks of 64 keys, dh =
/// 64 (forward; backward, both passes), and a window of 512.
struct AttentionCosts {
  KernelCost gca_forward, gca_backward_queries, gca_backward_chunks;
  KernelCost window_forward, window_backward_queries, window_backward_keys;
};
AttentionCosts attention_costs();

/// GCA forward by wgmma at the same sizes, for four query heads of one key/value head.
KernelCost gca_forward_sm90_cost();

std::vector<KernelCost> kernel_costs();
struct CostTables {
  std::string a100;  // all kernels but those with wgmma
  std::string h100;  // those with wgmma
};
CostTables kernel_cost_tables();

}  // namespace gca::testing
