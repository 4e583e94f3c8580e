#pragma once
// Column sums of a matrix of floats, its rows in order: the last step of sums that blocks made in parts.

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

struct SumRowsParams {
  const float* parts = nullptr;  // (rows, columns)
  float* sums = nullptr;         // (columns)
  int64_t rows = 0, columns = 0;
};

inline LaunchShape sum_rows_launch_shape(int64_t columns) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(columns, 64));
  result.threads = 64;
  return result;
}

int launch_sum_rows(const SumRowsParams& params, void* stream);

}  // namespace gca::cuda
