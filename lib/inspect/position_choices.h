#pragma once
// What the positions of a text chose, summed up for the chunks that they are in.

#include <cstdint>
#include <map>
#include <vector>

#include "lib/data/chunk_layout.h"
#include "lib/inspect/retrieval_trace.h"
#include "lib/model/backbone.h"

namespace gca::inspect {

/// For models whose positions choose blocks or positions (BackboneKind::choice_unit).
class PositionChoices {
 public:
  /// Of a text of `text_count` tokens.
  PositionChoices(const model::ModelConfig& config, int64_t text_count);

  /// The choices of a run from `first_position` on, an entry a reader. Landmarks among them do not count.
  void add(const std::vector<model::Choices>& choices, int64_t first_position);

  /// Sets `readers` of each chunk: of what its tokens chose, the kMostShown heaviest.
  void write(std::vector<ChunkReading>& readings) const;

 private:
  using Sums = std::map<int64_t, RetrievedChunk>;  // by chunk

  void add_row(const int64_t* chosen, const double* weights, int64_t K, Sums& sums) const;
  static std::vector<RetrievedChunk> heaviest(const Sums& sums, double tokens);

  data::ChunkLayout layout_;
  int64_t chunk_tokens_;
  bool names_positions_;
  size_t readers_;
  std::vector<Sums> sums_;  // of reader r and chunk t: t readers + r
};

}  // namespace gca::inspect
