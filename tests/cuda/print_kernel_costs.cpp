// Prints the table of kernels/CUDA.md, to be put there after a kernel has changed.
#include <cstdio>

#include "tests/cuda/cost_table.h"

int main() {
  std::fputs(gca::testing::kernel_cost_table().c_str(), stdout);
  return 0;
}
