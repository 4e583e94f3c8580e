#pragma once
// What this machine can do at best, with the threads in use: the limits that utilization is measured against.

#include <c10/core/ScalarType.h>

namespace gca {

/// Best of several products of 1024 x 1024 matrices, in FLOP/s (2 per multiply-add).
double measure_peak_flops(at::ScalarType dtype);

/// Best of several passes that read 512 MiB once, in bytes/s.
double measure_read_rate();

}  // namespace gca
