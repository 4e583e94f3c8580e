#pragma once
// The selective scan of Mamba (Gu and Dao, arXiv 2312.00752) with what goes before and after it: steps from
// their logits, the path past the state, and the gate. Per channel, with N states:
//
//   dt_t = softplus(delta_t + delta_bias)         A = -exp(a_log)
//   S_t = exp(dt_t A) S_(t-1) + dt_t u_t B_t      y_t = ( <S_t, C_t> + D u_t ) silu(z_t)

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace gca::kernels {

/// Of L positions: u, delta, z, b and c are of any float type, one for all; a_log, d and delta_bias float32
/// (double when u is double).
struct SelectiveScanInputs {
  at::Tensor u, delta, z;  ///< (B, L, channels)
  at::Tensor b, c;         ///< (B, L, N)
  at::Tensor a_log;        ///< (channels, N)
  at::Tensor d;            ///< (channels)
  at::Tensor delta_bias;   ///< (channels)
};

/// y (B, L, channels), type of u, from a state of zeros; differentiable in all inputs. Steps, decays, states
/// and sums are float32 (double for double). The backward pass runs again from states that the forward pass
/// keeps once in a chunk of positions. The same bits for any number of threads. On the CPU.
at::Tensor selective_scan(const SelectiveScanInputs& in);

/// The same after `state` (B, N, channels), float32 (double for double), which is replaced by the state after
/// the last position; undefined: zeros. Without gradients.
at::Tensor selective_scan_after(const SelectiveScanInputs& in, at::Tensor& state);

}  // namespace gca::kernels
