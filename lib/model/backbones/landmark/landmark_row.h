#pragma once
// The attention of landmark_reading.h at one position. Instead of keys that stand in different slots for different queries
// the query is turned, by what lies between it and the block: the same scores, but for rounding.

#include <memory>
#include <vector>

#include "lib/model/backbones/landmark/landmark_reading.h"
#include "lib/model/layers/searched_rows.h"
#include "lib/model/model_config.h"
#include "lib/model/rows/row_attention.h"

namespace gca::model {

/// Rotations by p + m S for the place p of one position in its block and m = 0, 1, .. blocks.
class BlockTurns {
 public:
  /// Of the position `position` of a text.
  BlockTurns(int64_t position, int64_t head_dim, const LandmarkReadingSettings& settings);

  /// to (dh) = x (dh) turned over m blocks; `to` may be x. m as landmark_reading() needs it.
  void turn(const float* x, int64_t m, float* to) const;

 private:
  int64_t head_dim_;
  std::vector<float> cosine_, sine_;  // (blocks, dh/2); empty: nothing is turned
};

/// Reads the rows of an upper layer, which must outlive it, as must settings and turns. Each head chooses for itself.
std::unique_ptr<RowAttention> landmark_row(SearchedRows& rows, const LandmarkReadingSettings& settings,
                                           const BlockTurns& turns, const ModelConfig& config,
                                           at::ScalarType compute_dtype);

}  // namespace gca::model
