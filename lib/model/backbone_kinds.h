#pragma once
// The kinds of backbone there are. Knows no LibTorch.

#include <span>
#include <string>

#include "lib/data/chunk_layout.h"
#include "lib/model/backbone_kind.h"
#include "lib/model/backbones/fot/fot_kind.h"
#include "lib/model/backbones/full/full_kind.h"
#include "lib/model/backbones/gca/gca_kind.h"
#include "lib/model/backbones/landmark/landmark_kind.h"
#include "lib/model/backbones/longvq/longvq_kind.h"
#include "lib/model/backbones/recurformer/recurformer_kind.h"
#include "lib/model/backbones/rmt/rmt_kind.h"
#include "lib/model/backbones/tensorized/tensorized_kind.h"
#include "lib/model/backbones/window/window_kind.h"

namespace gca::model {

template <class... Kinds>
struct KindList {};

/// Every kind, in the order in which help names them: a struct with a static `kind` and a static `make`. A
/// new one is a folder of backbones/, its settings a base of ModelConfig, and an entry here.
using BackboneKinds = KindList<GcaKind, WindowKind, LandmarkKind, RmtKind, FotKind, LongvqKind,
                               TensorizedKind, RecurformerKind, FullKind>;

std::span<const BackboneKind* const> backbone_kinds();

/// The kind that config.long_range and config.self_attention name. Throws Error(usage) naming `where` when
/// there is none.
const BackboneKind& backbone_kind(const ModelConfig& config, const std::string& where = "long_range");

Reach reach_of(const ModelConfig& config);

/// Where the landmarks of this model stand.
data::ChunkLayout chunk_layout_of(const ModelConfig& config);

/// Are chunks chosen by vectors of the data set (retriever frozen), without which the model reads no text?
bool chooses_by_vectors(const ModelConfig& config);

/// Throws Error(usage) naming `where` for a model that chooses by vectors; `text`, which has none: "a prompt".
void require_choice_without_vectors(const ModelConfig& config, const std::string& where,
                                    const std::string& text);

/// Throws Error(usage) naming `where` unless the model keeps chunk memory.
void require_chunk_memory(const ModelConfig& config, const std::string& where);

}  // namespace gca::model
