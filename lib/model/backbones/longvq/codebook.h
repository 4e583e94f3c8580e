#pragma once
// Codes of the keys of one layer, N a head, which follow the keys from step to step (Transformer-VQ, Lingle
// 2023, arXiv 2309.16354):
//
//   C = sum / max(count, 0.01)                       z of a key: the nearest code of its head (kernels/nearest_code)
//   count <- g count + (1 - g) keys of the code      sum <- g sum + (1 - g) sum of those keys
//
// and where a code's count is then below a share of its head's mean, it starts again at a key of the step.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "lib/model/layers/weight.h"

namespace gca::model {

/// What a codebook is to learn from one training step, of any number of runs.
class KeyCounts {
 public:
  /// A number of every (text, head, code): the text with the largest gives the key at which the code would
  /// start again.
  struct Draw {
    uint64_t seed, step;
    uint64_t layer;
    int64_t first_row;  ///< number of the batch's first row within the step
  };

  /// keys (B, L, H, dh) with their codes (B, L, H), of N a head.
  void add(const at::Tensor& keys, const at::Tensor& codes, int64_t code_count, const Draw& draw);

  at::Tensor count;       ///< (H, N) double; undefined before the first add()
  at::Tensor sum;         ///< (H, N, dh) double
  at::Tensor fresh_keys;  ///< (H, N, dh) double: keys of the step, drawn uniformly
 private:
  at::Tensor priority_;  ///< (H, N) double, of the texts that they are from
};

struct Codebook {
  Weight count;  ///< (H, N)
  Weight sum;    ///< (H, N, dh)

  static Codebook claim(WeightBuilder& builder, const std::string& prefix, int64_t heads, int64_t code_count,
                        int64_t head_dim);
  /// C (H, N, dh), masters' type.
  at::Tensor codes() const;
  /// After a step: `decay` is g, `revival` the share of the mean count.
  void update(const KeyCounts& step, double decay, double revival) const;
};

/// keys themselves, (B, L, H, dh); the backward pass also gives them the gradient of `factor` times their mean squared
/// distance from their codes `nearest`, (B, L, H, dh) in the masters' type: as if that were part of the loss.
at::Tensor committed(const at::Tensor& keys, const at::Tensor& nearest, double factor);

/// C_z (B, L, H, dh).
at::Tensor codewords(const at::Tensor& codes, const at::Tensor& z);

}  // namespace gca::model
