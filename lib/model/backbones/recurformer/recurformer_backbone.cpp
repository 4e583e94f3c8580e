// RecurFormer: sliding windows below, above full attention in the kept heads and one Mamba mixer in place of
// the others (mamba_mixer.h).

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/core/error.h"
#include "lib/model/backbone.h"
#include "lib/model/backbones/recurformer/mamba_mixer.h"
#include "lib/model/backbones/recurformer/recurformer_kind.h"
#include "lib/model/layers/kv_rows.h"
#include "lib/model/layers/window_stack.h"

namespace gca::model {
namespace {

class RecurformerPast final : public Past {
 public:
  RecurformerPast(int64_t at_position, size_t lower_layers, size_t upper_layers)
      : Past(at_position, nullptr), windows(lower_layers), kept(upper_layers), recurrent(upper_layers) {}

  std::unique_ptr<Past> clone() const override {
    auto copy = std::make_unique<RecurformerPast>(position_, 0, 0);
    copy->windows = clones_of(windows);
    copy->kept = clones_of(kept);
    copy->recurrent = recurrent;  // replaced, never written in place
    return copy;
  }
  int64_t size_bytes() const override {
    return gca::model::size_bytes(windows) + gca::model::size_bytes(kept) + gca::model::size_bytes(recurrent);
  }
  void visit(const Visitor& visitor) override {
    visit_windows(windows, visitor);
    visit_rows(kept, "upper.", visitor);
    for (size_t j = 0; j < recurrent.size(); ++j) {
      visitor(numbered("upper.", j, ".convolution"), recurrent[j].convolution);
      visitor(numbered("upper.", j, ".scan"), recurrent[j].scan);
    }
  }
  void advance(int64_t positions) { position_ += positions; }

  std::vector<WindowCache> windows;   ///< of the lower layers
  std::vector<KvRows> kept;           ///< keys and values of the kept heads, one an upper layer
  std::vector<MambaState> recurrent;  ///< of the replaced heads, one an upper layer
};

/// What an upper layer reads with.
struct UpperReading {
  at::Tensor slopes;                  ///< (kept heads)
  std::optional<MambaWeights> mamba;  ///< where a head is replaced
  at::Tensor order;                   ///< (H) int64: where each head stands behind [kept, replaced]
};

class RecurformerBackbone final : public Backbone {
 public:
  RecurformerBackbone(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config)
      : config_(std::move(config)), slopes_(make_slopes(builder, *config_)) {
    builder.begin_group(WeightGroup::lower);
    lower_ = WindowStack::claim(builder, "lower.", config_->n_lower_layers, *config_);
    builder.begin_group(WeightGroup::upper);
    upper_.prefix = "upper.";
    for (int64_t j = 0; j < config_->n_upper_layers; ++j) claim_upper_layer(builder, j);
  }

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<RecurformerPast>(position, lower_.layers.size(), upper_.layers.size());
  }

  Residual run(const at::Tensor& embedded, const Norm& /*final_norm*/, Past& any_past,
               const ForwardOptions& options) const override {
    auto& past = past_as<RecurformerPast>(any_past);
    const auto config = options.config ? options.config : config_;
    const at::Tensor h_low = lower_.run({embedded, {}}, past.windows, slopes_, config, options).sum();
    observe(options, "h_low", h_low);
    const bool keeps = !at::GradMode::is_enabled();
    const LayerMix mix = [this, &past, keeps, config](size_t layer, const at::Tensor& x) {
      return read(layer, x, *config, keeps ? &past : nullptr);
    };
    const Residual h = upper_.run_with(mix, {h_low, {}}, options);
    past.advance(embedded.size(1));
    // Kept heads and states know of every position: no layer may be left out.
    if (options.memory_only) return {};
    if (!upper_.layers.empty()) observe(options, numbered("upper.", upper_.layers.size() - 1), h);
    return h;
  }

 private:
  void claim_upper_layer(WeightBuilder& builder, int64_t number) {
    const std::string prefix = numbered("upper.", static_cast<size_t>(number));
    const HeadsOfLayer heads = heads_of_layer(*config_, number);
    const int64_t d = config_->d_model;
    const int64_t dh = config_->head_dim();
    const auto kept = static_cast<int64_t>(heads.kept.size());
    DecoderLayer layer;
    layer.attn_norm = {builder.norm(prefix + ".attn_norm", d), config_->norm_eps};
    if (kept > 0) {
      layer.attn.wq = builder.matrix(prefix + ".attn.wq", kept * dh, d);
      layer.attn.wk = builder.matrix(prefix + ".attn.wk", kept * dh, d);
      layer.attn.wv = builder.matrix(prefix + ".attn.wv", kept * dh, d);
    }
    layer.attn.wo = builder.matrix(prefix + ".attn.wo", d, d);
    UpperReading reading;
    if (!heads.recurrent.empty()) {
      const MambaSizes sizes = {.hidden = d,
                                .channels = d - kept * dh,
                                .states = config_->recurrent_state_size,
                                .convolution = config_->recurrent_conv_size,
                                .rank = recurrent_rank_of(*config_)};
      reading.mamba = MambaWeights::claim(builder, prefix + ".mamba", sizes);
    }
    layer.mlp_norm = {builder.norm(prefix + ".mlp_norm", d), config_->norm_eps};
    layer.mlp = claim_mlp(builder, prefix + ".mlp", *config_);
    upper_.layers.push_back(layer);

    const std::vector<double> all_slopes = config_->upper_slopes();
    std::vector<double> slopes;
    std::vector<int64_t> order(static_cast<size_t>(config_->n_heads));
    int64_t place = 0;
    for (const int64_t head : heads.kept) {
      slopes.push_back(all_slopes[static_cast<size_t>(head)]);
      order[static_cast<size_t>(head)] = place++;
    }
    for (const int64_t head : heads.recurrent) order[static_cast<size_t>(head)] = place++;
    reading.slopes = at::tensor(slopes, at::kDouble).to(builder.master_dtype());
    reading.order = at::tensor(order, at::kLong);
    readings_.push_back(std::move(reading));
  }

  /// x (B, n, d) -> (B, n, d), the heads in their places.
  at::Tensor read(size_t layer, const at::Tensor& x, const ModelConfig& config, RecurformerPast* past) const {
    const UpperReading& reading = readings_[layer];
    if (!reading.mamba) return attend(layer, x, config, past).reshape(x.sizes());
    const at::Tensor mixed = mamba_mix(*reading.mamba, x, past == nullptr ? nullptr : &past->recurrent[layer])
                                 .view({x.size(0), x.size(1), -1, config.head_dim()});
    if (reading.slopes.numel() == 0) return mixed.reshape(x.sizes());
    return at::cat({attend(layer, x, config, past), mixed}, 2)
        .index_select(2, reading.order)
        .reshape(x.sizes());
  }

  /// Full attention of the kept heads: (B, n, kept, dh).
  at::Tensor attend(size_t layer, const at::Tensor& x, const ModelConfig& config,
                    RecurformerPast* past) const {
    const AttentionWeights& weights = upper_.layers[layer].attn;
    const std::vector<at::Tensor> qkv = project_each(x, {&weights.wq, &weights.wk, &weights.wv});
    const std::vector<int64_t> shape = {x.size(0), x.size(1), -1, config.head_dim()};
    at::Tensor k = qkv[1].view(shape);
    at::Tensor v = qkv[2].view(shape);
    if (past != nullptr) {
      past->kept[layer].append(k, v);
      k = past->kept[layer].keys();
      v = past->kept[layer].values();
    }
    return kernels::sliding_window_attention(qkv[0].view(shape), k, v, readings_[layer].slopes,
                                             /*window=*/k.size(1), score_scale(config));
  }

  std::shared_ptr<const ModelConfig> config_;
  at::Tensor slopes_;  // (H) of the lower layers
  WindowStack lower_, upper_;
  std::vector<UpperReading> readings_;  // one an upper layer
};

}  // namespace

std::unique_ptr<Backbone> RecurformerKind::make(WeightBuilder& builder,
                                                std::shared_ptr<const ModelConfig> config) {
  if (!builder.device().is_cpu())
    fail_usage("--device " + builder.device().str(), "recurrent heads run on the CPU", "use --device cpu");
  return std::make_unique<RecurformerBackbone>(builder, std::move(config));
}

}  // namespace gca::model
