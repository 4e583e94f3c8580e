#pragma once
// The choice of the next token: a pure function of the logits and one random number.

#include <cstdint>
#include <span>
#include <vector>

namespace gca::generate {

struct SamplingOptions {
  double temperature = 1.0;  ///< logits are divided by it; 0: always the most probable token
  int64_t top_k = 0;         ///< only the k most probable tokens; 0: all
  double top_p = 1.0;        ///< only the fewest tokens whose probabilities reach p together
};

/// Keeps its memory from draw to draw: after the first, drawing allocates nothing.
class TokenSampler {
 public:
  /// Draws an id by `uniform` in (0, 1) from the softmax of logits / temperature, restricted to the top k,
  /// then among those to the top p, then normalised again. Ids whose `allowed` is 0 are never drawn (empty:
  /// all are allowed). Between equal logits the lower id counts as more probable. Throws Error(failed) when a
  /// logit is NaN or nothing is allowed.
  int64_t draw(std::span<const float> logits, std::span<const uint8_t> allowed,
               const SamplingOptions& options, double uniform);

 private:
  void keep_top_k(int64_t k);
  void keep_top_p(double p);

  std::vector<float> kept_;      // by id: logits of what may be drawn, then weights; 0 or -inf for the rest
  std::vector<float> ordered_;   // logits, for the search of the k-th
  std::vector<int64_t> ranked_;  // ids by falling weight, for the search of p
};

/// One draw.
int64_t sample_token(std::span<const float> logits, std::span<const uint8_t> allowed,
                     const SamplingOptions& options, double uniform);

}  // namespace gca::generate
