#pragma once
// Full causal attention, the decoder of a Llama, as an entry of the list of kinds.

#include <memory>

#include "lib/model/backbone_kind.h"

namespace gca::model {

class Backbone;
class WeightBuilder;

struct FullKind {
  static const BackboneKind kind;
  static std::unique_ptr<Backbone> make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config);
};

}  // namespace gca::model
