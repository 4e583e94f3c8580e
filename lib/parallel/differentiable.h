#pragma once
// Messages that gradients travel back along, between ranks that share a text: rank p of N has positions p n .. (p + 1) n of each
// row. All ranks call them alike, in the forward pass; the backward pass then runs them alike, too, on every rank.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lib/parallel/communicator.h"

namespace gca::parallel {

/// A communicator as a saved value of an autograd function: it outlives the graphs of its steps.
int64_t handle_of(Communicator& communicator);
Communicator& communicator_of(int64_t handle);

/// x (B, n, ..), the own rows -> (B, m, ..), the last m = min(window, p n) rows before the own. A rank sends
/// min(n, max(0, window - h n)) rows to the rank h + 1 to its right, and in the backward pass gets back as many gradients, which
/// it adds up from the nearest rank on, in float32.
at::Tensor left_rows(const at::Tensor& x, int64_t window, Communicator& communicator);

/// x (B, c, ..) -> (B, N c, ..), the rows of all ranks. The gradients of the own rows are added up in the order of the ranks, in
/// float32 (float64 for float64).
at::Tensor gather_rows(const at::Tensor& x, Communicator& communicator);

/// x (B, 1, ..) -> the x of the left neighbour; on rank 0, which has none, all `first`. Also of whole numbers.
at::Tensor shift_right(const at::Tensor& x, double first, Communicator& communicator);

}  // namespace gca::parallel
