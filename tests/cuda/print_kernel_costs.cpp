// Prints the tables of kernels/CUDA.md, to be put there after a kernel has changed.
#include <cstdio>

#include "tests/cuda/cost_table.h"

int main() {
  const gca::testing::CostTables tables = gca::testing::kernel_cost_tables();
  std::printf("%s\n%s", tables.a100.c_str(), tables.h100.c_str());
  return 0;
}
