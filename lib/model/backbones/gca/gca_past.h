#pragma once
// What grouped cross-attention keeps of a text between two segments.

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "lib/model/backbone.h"

namespace gca::model {

/// The retrieval that serves the chunk now open, of one group.
struct OpenRetrieval {
  at::Tensor idx;      ///< (B, 1, K) int32; undefined before the first landmark
  at::Tensor weights;  ///< (B, 1, K) float32
  ChunkView chunks;    ///< what idx reads, once a position has asked for it; undefined before
};

class GcaPast final : public Past {
 public:
  GcaPast(int64_t position, size_t layers, size_t groups)
      : Past(position, make_tensor_chunk_memory()), windows(layers), open_retrieval(groups), told(groups) {}

  std::unique_ptr<Past> clone() const override;
  int64_t size_bytes() const override;
  void visit(const Visitor& visitor) override;
  std::vector<Choices> choices() const override;

  void advance(int64_t positions) { position_ += positions; }
  /// What upper layers know of earlier positions is of no use once some have been left out.
  void leave_out_upper(size_t lower_layers);
  void forget_told() { told.assign(told.size(), {}); }

  std::vector<WindowCache> windows;  ///< one per decoder layer, lower first
  at::Tensor open_chunk;  ///< (B, position % S, d): lower decoder's output of the chunk not yet closed
  std::vector<OpenRetrieval> open_retrieval;  ///< per group
  std::vector<Choices> told;                  ///< per group, of the last run; undefined where not asked for
};

}  // namespace gca::model
