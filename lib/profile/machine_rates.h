#pragma once
// What this machine can do at best, with the threads in use: the limits that utilization is measured against.

#include <ATen/core/Tensor.h>

namespace gca::profile {

/// Best rates of matrix products and of reading memory over several rounds. Other programs on a machine can slow a
/// single round several times over, so rounds are spread over a run: one before it, one after each measurement.
class MachineRates {
 public:
  explicit MachineRates(at::ScalarType compute_type);

  /// One more round of products of 1024 x 1024 matrices, by the faster of gca's product and the library's.
  void measure_products();
  /// One more round that reads 512 MiB, once per pass.
  void measure_reads();

  double flops_per_second() const { return flops_per_second_; }  ///< 2 per multiply-add; 0: not measured
  double bytes_per_second() const { return bytes_per_second_; }  ///< 0: not measured

 private:
  at::Tensor factor_;  ///< (1024, 1024) in the compute type
  at::Tensor matrix_;  ///< (rows, 1024) float32, 512 MiB; made by the first measure_reads()
  double flops_per_second_ = 0;
  double bytes_per_second_ = 0;
};

}  // namespace gca::profile
