#pragma once
// Mamba in place of some attention heads (RecurFormer, Yan et al. 2024), as an entry of the list of kinds.

#include <memory>
#include <vector>

#include "lib/model/backbone_kind.h"

namespace gca::model {

class Backbone;
class WeightBuilder;

struct RecurformerKind {
  static const BackboneKind kind;
  static std::unique_ptr<Backbone> make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config);
};

/// Which heads of upper layer `layer` are Mamba, ascending; and which are not.
struct HeadsOfLayer {
  std::vector<int64_t> recurrent;
  std::vector<int64_t> kept;
};
HeadsOfLayer heads_of_layer(const ModelConfig& config, int64_t layer);

/// r, resolved.
int64_t recurrent_rank_of(const ModelConfig& config);

}  // namespace gca::model
