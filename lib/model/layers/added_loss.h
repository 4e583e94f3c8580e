#pragma once
// A term of the loss that is made inside a layer, where no result of the layer carries it out.

#include <ATen/core/Tensor.h>

namespace gca::model {

/// x itself; the backward pass that reaches it also goes into `term` (), with the gradient `factor`: as if
/// factor * term were part of the loss. Works in layers that are run again (recompute.h).
at::Tensor with_added_loss(const at::Tensor& x, const at::Tensor& term, double factor);

}  // namespace gca::model
