#pragma once
// Gumbel noise of the retrieval choice, -log(-log u), a pure function of its coordinates: the same for any
// split of the work, number of threads, or device.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// Coordinates of a block of noise. Four candidates share a Philox block; a block's index is, from the low
/// bits, c / 4 (22 bits), t (22 bits), batch row (16 bits), group (4 bits).
struct GumbelCoordinates {
  uint64_t seed = 0;
  uint64_t step = 0;         ///< optimizer step
  int64_t group = 0;         ///< g
  int64_t batch_offset = 0;  ///< number of row 0 within the step
  int64_t first_query = 0;   ///< chunk t of row 0
};

/// (B, R, C) float32 on `device`: noise of query chunk first_query + row and candidate c.
at::Tensor gumbel_noise(const GumbelCoordinates& at, int64_t B, int64_t R, int64_t C,
                        at::Device device = at::kCPU);

}  // namespace gca::kernels
