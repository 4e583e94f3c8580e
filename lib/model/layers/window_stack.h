#pragma once
// Decoder layers one after the other: with sliding-window attention the lower decoder of every kind of
// backbone and the upper one of the baseline, with another mix the upper one of other kinds.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lib/model/forward_options.h"
#include "lib/model/layers/transformer_layer.h"

namespace gca::model {

/// "lower.3.mlp" for ("lower.", 3, ".mlp").
std::string numbered(const std::string& prefix, size_t number, const std::string& suffix = "");

/// Shows a result to options.observe, where there is one.
void observe(const ForwardOptions& options, const std::string& name, const at::Tensor& value);
void observe(const ForwardOptions& options, const std::string& name, const Residual& value);

/// What layer number `layer` of a stack reads, as Mix.
using LayerMix = std::function<at::Tensor(size_t layer, const at::Tensor& x)>;

/// run(in), or with options.recompute_activations arranged so that the backward pass runs it again. `run`
/// must own all that it captures, but for weights.
Residual run_layer(const std::function<Residual(const Residual&)>& run, const Residual& in,
                   const ForwardOptions& options);

struct WindowStack {
  std::string prefix;  ///< of the names of its layers: "lower."
  std::vector<DecoderLayer> layers;

  static WindowStack claim(WeightBuilder& builder, const std::string& prefix, int64_t layer_count,
                           const ModelConfig& config);

  /// Layers that read mix(layer, x). Shows what they read as "PREFIXi.mix", and each layer's result but the
  /// last's, whose name the caller knows. `mix` must own all that it captures, but for weights and pasts.
  Residual run_with(const LayerMix& mix, Residual h, const ForwardOptions& options) const;

  /// The same with sliding windows. `windows`: one a layer, advanced; unused with gradients enabled.
  Residual run(Residual h, std::span<WindowCache> windows, const at::Tensor& slopes,
               const std::shared_ptr<const ModelConfig>& config, const ForwardOptions& options) const;
};

/// Lower and upper decoder layers, each a group of weights.
std::pair<WindowStack, WindowStack> claim_stacks(WeightBuilder& builder, const ModelConfig& config);

}  // namespace gca::model
