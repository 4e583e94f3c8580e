#pragma once
// Grouped cross-attention over chunk memory (arXiv 2410.01651), as an entry of the list of kinds.

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/model/backbone_kind.h"

namespace gca::model {

class Backbone;
class WeightBuilder;

struct GcaKind {
  static const BackboneKind kind;
  static std::unique_ptr<Backbone> make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config);
};

/// The retriever with which chunks are chosen by vectors of the data set (ForwardOptions::chunk_vectors), which nothing trains.
inline constexpr const char* kFrozenRetriever = "frozen";

/// Number of upper layers of each retrieval group.
std::vector<int64_t> group_sizes(const ModelConfig& config);

}  // namespace gca::model
