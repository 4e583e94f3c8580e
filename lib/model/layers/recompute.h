#pragma once
// Activation recomputation: a layer keeps its inputs only and is run again in the backward pass (Chen et al.,
// "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174).

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace gca::model {

using LayerFunction = std::function<at::Tensor(const std::vector<at::Tensor>& inputs)>;

/// layer(inputs), without keeping what it computes on the way. Weights that `layer` captures receive their
/// gradients as leaves. `layer` and what it captures by reference must live until the backward pass. At least
/// one input must require a gradient when gradients are wanted. Same results, bit for bit, as calling
/// `layer`.
at::Tensor recompute(LayerFunction layer, const std::vector<at::Tensor>& inputs);

}  // namespace gca::model
