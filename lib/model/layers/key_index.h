#pragma once
// int8 copies of the keys of one layer, by which a search of the best keys finds out which of them to score
// (kernels/landmark_topk/coarse_landmarks.h).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/landmark_topk/landmark_search.h"

namespace gca::model {

/// Of one text; of a batch of several nothing is copied, and searches score everything.
class KeyIndex {
 public:
  /// Most queries of a head for which a search is the faster way; for more, a product that scores everything is.
  static constexpr int64_t kMostQueries = 8;

  /// Copies those of keys (B, P, H, dh), float32 or bf16, that are not copied yet, but for less than a run. The keys that
  /// were there before are the same.
  void follow(const at::Tensor& keys);

  /// The first `count` keys (1, count, dh) of head `head` in text `b`, of keys that were followed: for landmark_search(). A
  /// view of both.
  std::vector<kernels::LandmarkPart> parts(const at::Tensor& keys, int64_t b, int64_t head,
                                           int64_t count) const;

  /// The K best of keys of a head where they lie in memory, for one query (d): idx and score (K), as landmark_search() has
  /// them. For members of a team, each of which searches alone.
  void search_row(const kernels::LandmarkRows& keys, int64_t head, const float* query, int64_t d, int64_t K,
                  float scale, int32_t* idx, float* score) const;

  int64_t size_bytes() const;

 private:
  /// Parts of `count` keys as the copies have them: add(first, own count, copy).
  void for_parts(int64_t head, int64_t count,
                 const std::function<void(int64_t, int64_t, kernels::CoarseRuns)>& add) const;

  std::vector<std::vector<kernels::CoarseLandmarks>> blocks_;  // of some thousand keys, a copy a head
};

struct BestKeys {
  at::Tensor places;  ///< (B, H, m, K) int64, in the order of the text
  at::Tensor scores;  ///< (B, H, m, K), type of the queries
};

/// The K best of `count` keys, K <= count, for queries (B, H, m, dh), float32 or float64: each text and head by itself, in its
/// parts(b, head).
BestKeys search_keys(const at::Tensor& queries,
                     const std::function<std::vector<kernels::LandmarkPart>(int64_t b, int64_t head)>& parts,
                     int64_t count, int64_t K, double scale);

}  // namespace gca::model
