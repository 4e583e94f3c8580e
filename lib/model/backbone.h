#pragma once
// The seam between a language model and what makes it long-range. A backbone is everything between the
// embedding and the final norm; its past is all that it keeps of a text between two calls. Kinds of backbone
// share parts (layers/, memory/), not a base class that does their work.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/model/forward_options.h"
#include "lib/model/kv_cache/kv_cache.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/memory/chunk_memory.h"

namespace gca::model {

/// What a reader chose (BackboneKind::readers). Where landmarks choose, a row for each landmark of the last
/// run, or for the last landmark alone, as ForwardOptions::choices says; where positions choose, a row for each
/// position of the last run, without scores, and only where they were asked for.
struct Choices {
  at::Tensor
      idx;  ///< (B, c, K) int32: of BackboneKind::choice_unit, -1 for none; chunks by falling noisy score
  at::Tensor weights;     ///< (B, c, K): of what is read, the part of each, 0 for none; before any rounding
  at::Tensor scores;      ///< (B, c, K): r of the chosen, 0 for none; undefined where not asked for
  at::Tensor all_scores;  ///< (B, c, C): r of every chunk; undefined where not asked for
};

/// An entry for each head: idx and shares (B, m, H, K).
inline std::vector<Choices> choices_of_heads(const at::Tensor& idx, const at::Tensor& shares) {
  std::vector<Choices> heads;
  for (int64_t head = 0; head < idx.size(2); ++head)
    heads.push_back({idx.select(2, head), shares.select(2, head), {}, {}});
  return heads;
}

/// The past of one text, or of one batch of texts; made by Backbone::begin() and of use to that kind alone.
class Past {
 public:
  /// Called with the name and the value of a tensor, which it may replace.
  using Visitor = std::function<void(const std::string& name, at::Tensor& tensor)>;

  virtual ~Past() = default;

  /// A copy that later runs of either do not change.
  virtual std::unique_ptr<Past> clone() const = 0;
  virtual int64_t size_bytes() const = 0;
  /// Visits every tensor, undefined ones included, under a name that stays the same from version to version:
  /// saving reads them all, loading sets them all in a past that is new.
  virtual void visit(const Visitor& visitor) = 0;
  /// One entry a reader; empty for kinds that choose nothing, before the first landmark, where positions
  /// choose also after training passes.
  virtual std::vector<Choices> choices() const { return {}; }

  /// Positions seen, landmarks included.
  int64_t position() const { return position_; }
  /// Null for kinds that keep none.
  ChunkMemory* memory() const { return memory_.get(); }
  /// Keys and values of all layers; null for kinds that keep windows alone.
  virtual KvCache* kv_cache() const { return nullptr; }
  /// Keys and values are from now on kept in `cache`, which is new. Only before the first token, and only for
  /// kinds that have a cache.
  virtual void keep_keys_in(std::unique_ptr<KvCache> /*cache*/) {
    TORCH_CHECK(false, "this kind of backbone has no cache of keys and values");
  }
  /// Chunk memory is from now on `memory`. Only for kinds that keep one.
  void keep_memory_in(std::unique_ptr<ChunkMemory> memory) {
    TORCH_CHECK(memory_, "this kind of backbone keeps no chunk memory");
    memory_ = std::move(memory);
  }

 protected:
  Past(int64_t position, std::unique_ptr<ChunkMemory> memory)
      : position_(position), memory_(std::move(memory)) {}

  int64_t position_;
  std::unique_ptr<ChunkMemory> memory_;
};

/// What a backbone gathers of the runs of one training step, for weights that no gradient moves. Made by
/// Backbone::begin_step() and of use to that kind alone.
class StepNotes {
 public:
  virtual ~StepNotes() = default;
};

class Backbone {
 public:
  virtual ~Backbone() = default;

  /// The past before the first token of a text. At a `position`: before the first token that all layers run,
  /// after so many positions which chunk memory alone may know (Past::keep_memory_in()).
  virtual std::unique_ptr<Past> begin(int64_t position = 0) const = 0;

  /// Runs embedded positions (B, n, d), masters' type, after `past` and advances it: the residual stream
  /// before `final_norm`, (B, n, d); nothing with options.memory_only. With gradients enabled the past must
  /// be new and is of no use afterwards; where a kind trains in another form than it reads texts in,
  /// gradients are what tells the two apart.
  virtual Residual run(const at::Tensor& embedded, const Norm& final_norm, Past& past,
                       const ForwardOptions& options) const = 0;

  /// Notes for a training step that begins, to be given to its runs (ForwardOptions::step_notes); null for
  /// kinds whose weights are all moved by gradients.
  virtual std::shared_ptr<StepNotes> begin_step() const { return nullptr; }
  /// After the update of a step: moves the weights that no gradient moves.
  virtual void end_step(StepNotes& /*notes*/, const ForwardOptions& /*options*/) {}

  /// Runs one position of one text, embedding (d), through row_decoder.h and advances `past`: the hidden
  /// state after `final_norm`, (1, 1, d) in the compute type. Undefined, and nothing done, where run() must
  /// take this position.
  virtual at::Tensor run_row(const at::Tensor& /*embedding*/, const Norm& /*final_norm*/, Past& /*past*/,
                             const ForwardOptions& /*options*/) const {
    return {};
  }
};

/// `past` as the kind that made it knows it.
template <class Kind>
Kind& past_as(Past& past) {
  auto* known = dynamic_cast<Kind*>(&past);
  TORCH_CHECK(known != nullptr, "this past is of another kind of backbone");
  return *known;
}

}  // namespace gca::model
