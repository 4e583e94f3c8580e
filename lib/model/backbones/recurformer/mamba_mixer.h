#pragma once
// The mixer of Mamba (Gu and Dao, arXiv 2312.00752) over `channels` channels, with N states, a convolution of
// width w and steps of rank r:
//
//   (u', z) = W_in x           u_t = silu( conv_b + sum_(e<w) conv_w[:, e] u'_(t-w+1+e) )
//   (dl, B_t, C_t) = W_x u_t   y = selective scan of u, W_dt dl, z, B and C (kernels/selective_scan)

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "lib/model/layers/weight.h"

namespace gca::model {

struct MambaSizes {
  int64_t hidden, channels, states, convolution, rank;
};

struct MambaWeights {
  Weight w_in;            ///< (2 channels, d)
  Weight conv_w, conv_b;  ///< (channels, w), (channels)
  Weight w_x;             ///< (r + 2 N, channels)
  Weight w_dt;            ///< (channels, r)
  Weight b_dt, a_log, d;  ///< (channels), (channels, N), (channels)

  /// With the start that Mamba has: rates -1 .. -N, steps log-uniform in [0.001, 0.1], D = 1.
  static MambaWeights claim(WeightBuilder& builder, const std::string& prefix, const MambaSizes& sizes);
};

/// What a text leaves behind; of constant size.
struct MambaState {
  at::Tensor convolution;  ///< (B, w - 1, channels), compute type: the last u'; undefined: zeros
  at::Tensor scan;         ///< (B, N, channels), masters' type; undefined: zeros

  int64_t size_bytes() const;
};

/// x (B, n, d), already normalised, compute type -> (B, n, channels), compute type. With a state its
/// positions follow those that made it, and it is moved on (gradients off).
at::Tensor mamba_mix(const MambaWeights& weights, const at::Tensor& x, MambaState* state);

}  // namespace gca::model
