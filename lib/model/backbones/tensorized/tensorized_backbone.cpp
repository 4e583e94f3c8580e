// Tensorized attention: sliding windows below, several hops over growing strides above (strided_window.h).

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/model/backbone.h"
#include "lib/model/backbones/tensorized/hop_history.h"
#include "lib/model/backbones/tensorized/hop_row.h"
#include "lib/model/backbones/tensorized/strided_window.h"
#include "lib/model/backbones/tensorized/tensorized_kind.h"
#include "lib/model/layers/window_stack.h"
#include "lib/model/rows/row_decoder.h"

namespace gca::model {
namespace {

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

  at::Tensor run_row(const at::Tensor& embedding, const Norm& final_norm, Past& any_past,
                     const ForwardOptions& options) const override {
    auto& past = past_as<TensorizedPast>(any_past);
    const ModelConfig& config = options.config ? *options.config : *config_;
    std::vector<RowLayer> layers;
    add_row_layers(lower_, past.windows, slopes_, config, layers);
    for (size_t j = 0; j < upper_.layers.size(); ++j)
      layers.push_back(row_layer(upper_.layers[j], hop_row(past.upper[j], upper_slopes_, config,
                                                           upper_.layers[j].attn.wq.compute_dtype)));
    if (!can_decode_row(layers)) return {};
    past.advance(1);
    return decode_row({layers, /*tapped=*/layers.size(), final_norm, config}, embedding).hidden;
  }

 private:
  at::Tensor hops(size_t layer, const at::Tensor& x, const ModelConfig& config, HopHistory* history) const {
    auto [q, k, found] = project_qkv(upper_.layers[layer].attn, x, config);
    if (history == nullptr) {
      found = tensorized_attention(q, k, found, upper_slopes_, config.tensor_fold, score_scale(config));
      return found.reshape(x.sizes());
    }
    const std::vector<Hop> all = hops_of(config.tensor_fold);
    k = history->keys.append(k, longest_of(all));
    for (size_t r = 0; r < all.size(); ++r) {
      const at::Tensor values = history->values[r].append(found, all[r].kept);
      const at::Tensor keys = k.narrow(1, k.size(1) - values.size(1), values.size(1));
      found =
          strided_window(q, keys, values, upper_slopes_, all[r].steps, all[r].stride, score_scale(config));
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
