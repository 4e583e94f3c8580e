#pragma once
// What this machine can do at best: the rate of a large matrix product.

#include <c10/core/ScalarType.h>

namespace gca {

/// Best of several products of 1024 x 1024 matrices, in FLOP/s (2 per multiply-add), with the threads in use.
double measure_peak_flops(at::ScalarType dtype);

}  // namespace gca
