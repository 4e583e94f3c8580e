#pragma once
// Rows of a table of embeddings, and the table's gradient.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// table (V, d), ids int64 of any shape on the same device: (.., d), type of the table; differentiable in it.
/// The gradient of a row is summed in the order of the positions: deterministic on every device.
at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids);

}  // namespace gca::kernels
