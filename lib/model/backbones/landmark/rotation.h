#pragma once
// Rotary positions (Su et al., arXiv 2104.09864) at any positions; kernels/rotary has those of 0, 1, 2, ..

#include <ATen/core/Tensor.h>

namespace gca::model {

/// x (.., dh), dh even: element e < dh/2 of a row pairs with e + dh/2, turned by the angle position *
/// theta^(-2e / dh). positions: whole numbers that broadcast to the shape of the rows, (..). Same shape and
/// type.
at::Tensor rotated(const at::Tensor& x, const at::Tensor& positions, double theta);

}  // namespace gca::model
