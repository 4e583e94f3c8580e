#pragma once
// Rotary positions of full attention: element e < dh/2 of a head pairs with e + dh/2, turned by the place times
// a frequency. With w_e = theta^(-2e / dh), o the positions before scaling and f the factor:
//
//   default  w_e
//   linear   w_e / f
//   llama3   u = clamp((o w_e / 2pi - low) / (high - low), 0, 1)     (1 - u) w_e / f + u w_e
//   yarn     u = clamp((e - lo) / (hi - lo), 0, 1)                   u w_e / f + (1 - u) w_e
//            lo, hi = floor, ceil of dh ln(o / (2pi beta)) / (2 ln theta) for beta fast, slow; cosines and sines
//            times 0.1 ln(f) + 1

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "lib/model/model_config.h"

namespace gca::model {

/// Angles are computed in double; cosines and sines are kept in `dtype`, the type of statistics. May be used by
/// several threads.
class RotaryAngles {
 public:
  /// Of a model with position rope; with alibi nothing is turned.
  RotaryAngles(const ModelConfig& config, at::ScalarType dtype);

  /// x (B, n, heads, dh) at the places first .. first + n - 1; differentiable.
  at::Tensor turn(const at::Tensor& x, int64_t first) const;
  /// The same of queries and keys of the same places.
  std::pair<at::Tensor, at::Tensor> turn(const at::Tensor& q, const at::Tensor& k, int64_t first) const;
  /// x (B, n, heads, dh) at `places` (n).
  at::Tensor turn_at(const at::Tensor& x, const std::vector<int64_t>& places) const;

  /// (dh/2) radians per place, and the factor on cosines and sines.
  const std::vector<double>& frequencies() const { return frequencies_; }
  double factor() const { return factor_; }

 private:
  struct Table {
    at::Tensor cosine, sine;  // (rows, dh/2)
  };
  /// At least so many rows.
  Table table(int64_t rows) const;
  /// Rows first .. first + n - 1.
  Table table(int64_t first, int64_t n) const;

  std::vector<double> frequencies_;  // empty: nothing is turned
  double factor_ = 1.0;
  at::ScalarType dtype_;
  mutable std::mutex mutex_;
  mutable Table table_;
};

}  // namespace gca::model
