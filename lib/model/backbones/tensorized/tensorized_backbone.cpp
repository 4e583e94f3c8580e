// Tensorized attention: sliding windows below, several hops over growing strides above (strided_window.h).

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "lib/model/backbone.h"
#include "lib/model/backbones/tensorized/strided_window.h"
#include "lib/model/backbones/tensorized/tensorized_kind.h"
#include "lib/model/layers/row_history.h"
#include "lib/model/layers/window_stack.h"

namespace gca::model {
namespace {

/// What an upper layer keeps: a cache of the first values alone could not decode, because a hop reads what
/// the one before it found at earlier positions.
struct HopHistory {
  RowHistory keys;                 ///< as far back as the longest hop reaches
  std::vector<RowHistory> values;  ///< of each hop: what it reads, as far back as it reaches
};

class TensorizedPast final : public Past {
 public:
  TensorizedPast(int64_t at_position, size_t lower_layers, size_t upper_layers, size_t hops)
      : Past(at_position, nullptr), windows(lower_layers) {
    upper.resize(upper_layers);
    for (HopHistory& layer : upper) layer.values.resize(hops);
  }

  std::unique_ptr<Past> clone() const override {
    auto copy = std::make_unique<TensorizedPast>(position_, 0, upper.size(), 0);
    copy->windows = clones_of(windows);
    for (size_t j = 0; j < upper.size(); ++j) {
      copy->upper[j].keys = upper[j].keys.clone();
      copy->upper[j].values = clones_of(upper[j].values);
    }
    return copy;
  }
  int64_t size_bytes() const override {
    int64_t bytes = gca::model::size_bytes(windows);
    for (const HopHistory& layer : upper)
      bytes += layer.keys.size_bytes() + gca::model::size_bytes(layer.values);
    return bytes;
  }
  void visit(const Visitor& visitor) override {
    visit_windows(windows, visitor);
    for (size_t j = 0; j < upper.size(); ++j) {
      const std::string name = numbered("upper.", j);
      upper[j].keys.visit(name + ".keys", visitor);
      for (size_t r = 0; r < upper[j].values.size(); ++r)
        upper[j].values[r].visit(numbered(name + ".values.", r), visitor);
    }
  }
  void advance(int64_t positions) { position_ += positions; }
  /// What upper layers know of earlier positions is of no use once some have been left out.
  void leave_out_upper() {
    for (HopHistory& layer : upper) {
      layer.keys = {};
      layer.values.assign(layer.values.size(), {});
    }
  }

  std::vector<WindowCache> windows;  ///< of the lower layers
  std::vector<HopHistory> upper;
};

class TensorizedBackbone final : public Backbone {
 public:
  TensorizedBackbone(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config)
      : config_(std::move(config)),
        slopes_(make_slopes(builder, *config_)),
        upper_slopes_(
            at::tensor(config_->upper_slopes(), at::kDouble).to(builder.device(), builder.master_dtype())) {
    std::tie(lower_, upper_) = claim_stacks(builder, *config_);
  }

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<TensorizedPast>(position, lower_.layers.size(), upper_.layers.size(),
                                            config_->tensor_fold.size());
  }

  Residual run(const at::Tensor& embedded, const Norm& /*final_norm*/, Past& any_past,
               const ForwardOptions& options) const override {
    auto& past = past_as<TensorizedPast>(any_past);
    const auto config = options.config ? options.config : config_;
    const at::Tensor h_low = lower_.run({embedded, {}}, past.windows, slopes_, config, options).sum();
    observe(options, "h_low", h_low);
    past.advance(embedded.size(1));
    if (options.memory_only) {
      past.leave_out_upper();
      return {};
    }
    const bool keeps = !at::GradMode::is_enabled();
    const LayerMix mix = [this, &past, keeps, config](size_t layer, const at::Tensor& x) {
      return hops(layer, x, *config, keeps ? &past.upper[layer] : nullptr);
    };
    const Residual h = upper_.run_with(mix, {h_low, {}}, options);
    if (!upper_.layers.empty()) observe(options, numbered("upper.", upper_.layers.size() - 1), h);
    return h;
  }

 private:
  at::Tensor hops(size_t layer, const at::Tensor& x, const ModelConfig& config, HopHistory* history) const {
    auto [q, k, found] = project_qkv(upper_.layers[layer].attn, x, config);
    if (history == nullptr) {
      found = tensorized_attention(q, k, found, upper_slopes_, config.tensor_fold, score_scale(config));
      return found.reshape(x.sizes());
    }
    int64_t longest = 0;
    std::vector<int64_t> kept;  // rows before a position that each hop reads
    int64_t stride = 1;
    for (const int64_t steps : config.tensor_fold) {
      kept.push_back(steps > 0 ? (steps - 1) * stride : RowHistory::kAll);
      longest = std::max(longest, kept.back());
      stride *= steps;
    }
    k = history->keys.append(k, longest);
    stride = 1;
    for (size_t r = 0; r < kept.size(); ++r) {
      const at::Tensor values = history->values[r].append(found, kept[r]);
      const at::Tensor keys = k.narrow(1, k.size(1) - values.size(1), values.size(1));
      found =
          strided_window(q, keys, values, upper_slopes_, config.tensor_fold[r], stride, score_scale(config));
      stride *= config.tensor_fold[r];
    }
    return found.reshape(x.sizes());
  }

  std::shared_ptr<const ModelConfig> config_;
  at::Tensor slopes_, upper_slopes_;  // (H)
  WindowStack lower_, upper_;
};

}  // namespace

std::unique_ptr<Backbone> TensorizedKind::make(WeightBuilder& builder,
                                               std::shared_ptr<const ModelConfig> config) {
  return std::make_unique<TensorizedBackbone>(builder, std::move(config));
}

}  // namespace gca::model
