#pragma once
// Windows, and codes for the keys beyond them (LongVQ, Liu et al. 2024; Transformer-VQ, Lingle 2023), as an
// entry of the list of kinds.

#include <memory>

#include "lib/model/backbone_kind.h"

namespace gca::model {

class Backbone;
class WeightBuilder;

struct LongvqKind {
  static const BackboneKind kind;
  static std::unique_ptr<Backbone> make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config);
};

}  // namespace gca::model
