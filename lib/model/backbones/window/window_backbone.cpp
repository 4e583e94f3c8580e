// The baseline: sliding windows in all layers, nothing beyond them.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "lib/model/backbone.h"
#include "lib/model/backbones/window/window_kind.h"
#include "lib/model/layers/window_stack.h"
#include "lib/model/rows/row_decoder.h"

namespace gca::model {
namespace {

class WindowPast final : public Past {
 public:
  WindowPast(int64_t at_position, size_t layers) : Past(at_position, nullptr), windows(layers) {}

  std::unique_ptr<Past> clone() const override {
    auto copy = std::make_unique<WindowPast>(position_, 0);
    copy->windows = clones_of(windows);
    return copy;
  }
  int64_t size_bytes() const override { return gca::model::size_bytes(windows); }
  void visit(const Visitor& visitor) override { visit_windows(windows, visitor); }
  void advance(int64_t positions) { position_ += positions; }

  std::vector<WindowCache> windows;  // one a layer, lower first
};

class WindowBackbone final : public Backbone {
 public:
  WindowBackbone(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config)
      : config_(std::move(config)), slopes_(make_slopes(builder, *config_)) {
    std::tie(lower_, upper_) = claim_stacks(builder, *config_);
  }

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<WindowPast>(position, lower_.layers.size() + upper_.layers.size());
  }

  Residual run(const at::Tensor& embedded, const Norm& /*final_norm*/, Past& any_past,
               const ForwardOptions& options) const override {
    auto& past = past_as<WindowPast>(any_past);
    const auto config = options.config ? options.config : config_;
    const auto [lower_windows, upper_windows] = split(past);
    const at::Tensor h_low =
        lower_.run({embedded, {}}, lower_windows, slopes_, config, options).sum();  // (B, n, d)
    observe(options, "h_low", h_low);
    past.advance(embedded.size(1));
    if (options.memory_only) {
      // What upper layers know of earlier positions is of no use once some have been left out.
      std::fill(upper_windows.begin(), upper_windows.end(), WindowCache());
      return {};
    }
    const Residual h = upper_.run({h_low, {}}, upper_windows, slopes_, config, options);
    if (!upper_.layers.empty()) observe(options, numbered("upper.", upper_.layers.size() - 1), h);
    return h;
  }

  at::Tensor run_row(const at::Tensor& embedding, const Norm& final_norm, Past& any_past,
                     const ForwardOptions& options) const override {
    auto& past = past_as<WindowPast>(any_past);
    const auto [lower_windows, upper_windows] = split(past);
    const ModelConfig& config = options.config ? *options.config : *config_;
    std::vector<RowLayer> layers;
    add_row_layers(lower_, lower_windows, slopes_, config, layers);
    add_row_layers(upper_, upper_windows, slopes_, config, layers);
    if (!can_decode_row(layers)) return {};
    past.advance(1);
    return decode_row({layers, /*tapped=*/layers.size(), final_norm, config}, embedding).hidden;
  }

 private:
  /// Windows of the lower and the upper layers.
  std::pair<std::span<WindowCache>, std::span<WindowCache>> split(WindowPast& past) const {
    const std::span<WindowCache> all(past.windows);
    return {all.first(lower_.layers.size()), all.subspan(lower_.layers.size())};
  }

  std::shared_ptr<const ModelConfig> config_;
  at::Tensor slopes_;  // (H)
  WindowStack lower_, upper_;
};

}  // namespace

std::unique_ptr<Backbone> WindowKind::make(WeightBuilder& builder,
                                           std::shared_ptr<const ModelConfig> config) {
  return std::make_unique<WindowBackbone>(builder, std::move(config));
}

}  // namespace gca::model
