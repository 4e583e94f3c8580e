#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace gca::model {

/// k-means of points (n, e) double: squared distance, the lower number of equally near centres, until no label
/// changes, at most 300 rounds; a centre without points stays. `uniform` (C) in [0, 1) draws the first centres
/// as k-means++ does. Returns the labels (n), those of distances in double: float32 only rules out. Runs in the
/// caller's thread.
std::vector<int32_t> k_means(const at::Tensor& points, const std::vector<double>& uniform);

}  // namespace gca::model
