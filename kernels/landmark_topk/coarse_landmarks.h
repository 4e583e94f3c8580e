#pragma once
// An int8 copy of landmarks which tells, for a quarter of the bytes, between what bounds a score is. For the
// landmarks l_c of a run of 64, and a query q:
//
//   l_c = m + s a_c + e_c     m: centre of the run, s: its step, a_c: whole numbers in [-127, 127]
//   q   = t b + f             b: whole numbers in [-127, 127]
//
//   <q, l_c> <= <q, m> + s t <a_c, b> + |f| max |s a_c| + |q| max |e_c| + what float32 sums can round
//
// The product of whole numbers is exact, so this bounds the score that float32 arithmetic gives, in any
// order: who scores in float32 whatever can reach the K-th best makes the same choice as who scores
// everything (an index of codes with refinement). The centre is taken out because what all landmarks share
// tells none of them apart, and would take up the codes' range.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kernels/common/int8_products.h"

namespace gca::kernels {

inline constexpr int64_t kCoarseRun = kInt8Run;

/// What the bounds need of a run beside its codes. Infinite where a landmark is not a number.
struct CoarseBounds {
  double step;           ///< s
  double code_norm;      ///< max |s a_c|
  double rest_norm;      ///< max |e_c|
  double landmark_norm;  ///< max |l_c| + |m|
};

/// Whole runs, one after the other. A view: valid while its CoarseLandmarks is.
struct CoarseRuns {
  int64_t count = 0;
  int64_t d = 0;
  const uint8_t* codes = nullptr;        ///< (count, groups, 64, 4): a_c + 128
  const float* centres = nullptr;        ///< (count, d)
  const CoarseBounds* bounds = nullptr;  ///< (count)

  int64_t groups() const { return (d + kInt8Group - 1) / kInt8Group; }
  const uint8_t* codes_of(int64_t run) const { return codes + run * groups() * kCoarseRun * kInt8Group; }
  CoarseRuns part(int64_t first, int64_t part_count) const {
    return {part_count, d, codes_of(first), centres + first * d, bounds + first};
  }
};

/// Only added to; what is there never moves.
class CoarseLandmarks {
 public:
  /// For at most `capacity` landmarks of d elements.
  CoarseLandmarks(int64_t d, int64_t capacity);

  int64_t run_count() const { return static_cast<int64_t>(bounds_.size()); }
  /// Adds `runs` runs: landmarks (64 runs, d), rows dense.
  void append(const float* landmarks, int64_t runs);
  CoarseRuns runs(int64_t first, int64_t count) const;
  int64_t size_bytes() const;

 private:
  at::Tensor codes_;    // (capacity / 64, groups, 64, 4)
  at::Tensor centres_;  // (capacity / 64, d)
  std::vector<CoarseBounds> bounds_;
};

/// A query as whole numbers.
struct CoarseQuery {
  /// q (d)
  CoarseQuery(const float* q, int64_t d);

  std::vector<int8_t> codes;  ///< b, whole groups of it: padded with 0
  double step;                ///< t
  double code_sum = 0;        ///< sum of b
  double norm;                ///< |q|
  double rest_norm;           ///< |f|
  double rounding;            ///< that float32 sums of d products add, by the norms of both factors
};

/// Bounds on the scores of one run, by the product of codes.
struct ScoreBounds {
  /// `centre_score` is <q, m> in float32.
  ScoreBounds(const CoarseQuery& query, const CoarseBounds& run, float centre_score);

  /// The score in float32 of a landmark whose codes multiply to `product` is between these. NaN or infinite
  /// where nothing is known.
  double least(int32_t product) const { return least_base + step * product; }
  double most(int32_t product) const { return most_base + step * product; }
  /// Products up to this mean scores of at most `bar`, which may be NaN: unknown.
  int32_t product_limit(double bar) const;

  double least_base, most_base;
  double step;
};

}  // namespace gca::kernels
