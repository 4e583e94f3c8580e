// What the kernels may cost: no spills, no bank conflicts, near their floors, and a table that is today's.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/cuda/cost_table.h"
#include "tests/cuda/kernel_resources.h"

using namespace gca::testing;

namespace {

/// Cycles of the busiest resource over those that the tensor cores need at least.
double over_tensor_floor(std::initializer_list<KernelCost> passes) {
  double cycles = 0, floor = 0;
  for (const KernelCost& pass : passes) {
    cycles += ptx::cycles_of(pass.counters, ptx::kA100).largest();
    floor += pass.least_macs / ptx::kA100.tensor_macs;
  }
  return cycles / floor;
}

}  // namespace

TEST_CASE("no kernel spills registers, for any architecture") {
  int kernels = 0;
  for (const auto& entry : std::filesystem::directory_iterator(GCA_CUDA_OBJECT_DIR)) {
    if (!entry.path().string().ends_with(".o.txt")) continue;
    for (const KernelResources& resources : kernel_resources(entry.path().stem().stem().string())) {
      CAPTURE(resources.kernel);
      CAPTURE(resources.architecture);
      CHECK(resources.spilled_bytes == 0);
      ++kernels;
    }
  }
  CHECK(kernels >= 3 * 70);
}

TEST_CASE("attention stays near its floor in the model of an A100") {
  const AttentionCosts costs = attention_costs();
  const double gca_forward = over_tensor_floor({costs.gca_forward});
  const double gca_backward = over_tensor_floor({costs.gca_backward_queries, costs.gca_backward_chunks});
  const double window_forward = over_tensor_floor({costs.window_forward});
  const double window_backward =
      over_tensor_floor({costs.window_backward_queries, costs.window_backward_keys});
  MESSAGE("cycles over the tensor floor: GCA forward ", gca_forward, ", backward ", gca_backward,
          "; window forward ", window_forward, ", backward ", window_backward);
  CHECK(gca_forward <= 1.25);
  CHECK(gca_backward <= 1.5);
  CHECK(window_forward <= 1.3);
  CHECK(window_backward <= 1.6);
  for (const KernelCost& cost :
       {costs.gca_forward, costs.gca_backward_queries, costs.gca_backward_chunks, costs.window_forward,
        costs.window_backward_queries, costs.window_backward_keys}) {
    CAPTURE(cost.name);
    CHECK(cost.counters.shared_wavefronts == cost.counters.shared_wavefronts_least);
    CHECK(static_cast<double>(cost.counters.dram_read_bytes + cost.counters.dram_write_bytes) <=
          1.1 * cost.least_dram_bytes);
  }
}

TEST_CASE("GCA forward by wgmma stays near its floor in the model of an H100, four heads a key head") {
  const KernelCost cost = gca_forward_sm90_cost();
  const ptx::Cycles cycles = ptx::cycles_of(cost.counters, ptx::kH100);
  const double floor = std::max(cost.least_macs / ptx::kH100.warpgroup_macs,
                                cost.least_l2_bytes / ptx::kH100.l2_bytes_per_cycle());
  MESSAGE("cycles over the larger of tensor cores and L2: ", cycles.largest() / floor, ", ",
          std::string(cycles.name_of_largest()));
  CHECK(cycles.largest() <= 1.15 * floor);
  CHECK(cost.counters.tensor_macs == 0);
  CHECK(cost.counters.shared_wavefronts == cost.counters.shared_wavefronts_least);
  CHECK(static_cast<double>(cost.counters.dram_read_bytes + cost.counters.dram_write_bytes) <=
        1.1 * cost.least_dram_bytes);
}

TEST_CASE("the assembler lets no wgmma wait for itself") {
  std::ifstream log(GCA_CUDA_OBJECT_DIR "/grouped_cross_attention_forward_sm90.o.txt");
  std::stringstream text;
  text << log.rdbuf();
  CHECK(text.str().find("Used ") != std::string::npos);
  CHECK(text.str().find("serialized") == std::string::npos);
}

TEST_CASE("kernels/CUDA.md has the tables that gca_kernel_costs prints") {
  std::ifstream file(std::string(GCA_SOURCE_DIR) + "/kernels/CUDA.md");
  std::stringstream text;
  text << file.rdbuf();
  const CostTables tables = kernel_cost_tables();
  const bool has_table =
      text.str().find(tables.a100) != std::string::npos && text.str().find(tables.h100) != std::string::npos;
  CHECK_MESSAGE(has_table, "put the output of build/tests/cuda/gca_kernel_costs into kernels/CUDA.md");
}
