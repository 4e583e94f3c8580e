#pragma once
// Full causal attention over a text that ranks share, each with some of its positions (lib/parallel/text_shares.h).
// Bytes that a rank sends, with n positions of N ranks and b bytes of the type of k:
//
//   gather         forward (N-1) 2 B n H_kv dh b, in one all-gather; backward (N-1) 2 B n H_kv dh 4, summed in the order of ranks
//   zigzag, ring   forward the same, in N - 1 blocks that pass by while the rank computes; backward the same again, and
//                  N 2 B n H_kv dh 4, of the gradients that travel with their block and are added to where it passes
//
// (Liu et al., arXiv 2310.01889; zigzag as in ring-flash-attention.)

#include <ATen/core/Tensor.h>

#include "lib/parallel/communicator.h"
#include "lib/parallel/text_shares.h"

namespace gca::model {

/// q (B, n, H, dh), k and v (B, n, H_kv, dh) of the own positions, turned as they stand in the whole text -> (B, n, H, dh).
/// `slopes` (H) of ALiBi, which only `gather` knows: elsewhere they are 0. All ranks call it alike, forward and backward.
at::Tensor ring_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& slopes, double scale, parallel::RingScheme scheme,
                          parallel::Communicator& ranks);

}  // namespace gca::model
