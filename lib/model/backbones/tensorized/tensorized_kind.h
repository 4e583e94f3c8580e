#pragma once
// Tensorized attention: several hops over growing strides, as an entry of the list of kinds.

#include <memory>

#include "lib/model/backbone_kind.h"

namespace gca::model {

class Backbone;
class WeightBuilder;

struct TensorizedKind {
  static const BackboneKind kind;
  static std::unique_ptr<Backbone> make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config);
};

}  // namespace gca::model
