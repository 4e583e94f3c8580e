// Full causal attention in all layers: the decoder of a Llama. What its past keeps and reads is a KvCache's
// choice.

#include <ATen/core/grad_mode.h>

#include <utility>
#include <vector>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/core/error.h"
#include "lib/model/backbone.h"
#include "lib/model/backbones/full/full_kind.h"
#include "lib/model/backbones/full/full_layer.h"
#include "lib/model/backbones/full/full_row_decoder.h"
#include "lib/model/kv_cache/full_cache.h"
#include "lib/model/layers/ring_attention.h"
#include "lib/model/layers/window_stack.h"

namespace gca::model {
namespace {

class FullPast final : public Past {
 public:
  FullPast(int64_t at_position, std::unique_ptr<KvCache> cache)
      : Past(at_position, nullptr), cache_(std::move(cache)) {}

  std::unique_ptr<Past> clone() const override {
    return std::make_unique<FullPast>(position_, cache_->clone());
  }
  int64_t size_bytes() const override { return cache_->size_bytes(); }
  void visit(const Visitor& visitor) override { cache_->visit(visitor); }
  KvCache* kv_cache() const override { return cache_.get(); }
  void keep_keys_in(std::unique_ptr<KvCache> cache) override { cache_ = std::move(cache); }
  void advance(int64_t positions) {
    if (!cache_->is_trial()) position_ += positions;
  }

 private:
  std::unique_ptr<KvCache> cache_;
};

class FullBackbone final : public Backbone {
 public:
  FullBackbone(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config)
      : config_(std::move(config)), settings_(AttentionSettings::of(*config_, builder.master_dtype())) {
    const auto claim = [&](WeightGroup group, const std::string& prefix, int64_t count) {
      builder.begin_group(group);
      for (int64_t i = 0; i < count; ++i) {
        names_.push_back(numbered(prefix, static_cast<size_t>(i)));
        layers_.push_back(FullLayer::claim(builder, names_.back(), *config_));
      }
    };
    claim(WeightGroup::lower, "lower.", config_->n_lower_layers);
    claim(WeightGroup::upper, "upper.", config_->n_upper_layers);
  }

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<FullPast>(position, std::make_unique<FullCache>(settings_));
  }

  Residual run(const at::Tensor& embedded, const Norm& /*final_norm*/, Past& any_past,
               const ForwardOptions& options) const override {
    auto& past = past_as<FullPast>(any_past);
    Residual h{embedded, {}};
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Attend attend =
          at::GradMode::is_enabled() ? whole_text(options) : from_cache(*past.kv_cache(), i);
      h = run_layer([&layer = layers_[i], attend,
                     config = config_](const Residual& in) { return layer.forward(in, *config, attend); },
                    h, options);
      if (i + 1 == static_cast<size_t>(config_->n_lower_layers)) observe(options, "h_low", h);
      if (i + 1 < layers_.size()) observe(options, names_[i], h);
    }
    past.advance(embedded.size(1));
    // Every layer reads the whole text: none may be left out.
    if (options.memory_only) return {};
    observe(options, names_.back(), h);
    return h;
  }

  at::Tensor run_row(const at::Tensor& embedding, const Norm& final_norm, Past& any_past,
                     const ForwardOptions& /*options*/) const override {
    if (!can_decode_full_row(layers_)) return {};
    auto& past = past_as<FullPast>(any_past);
    at::Tensor hidden = decode_full_row(layers_, final_norm, *config_, *past.kv_cache(), embedding);
    past.advance(1);
    return hidden;
  }

 private:
  /// Attention within a text that is new, with gradients.
  Attend whole_text(const ForwardOptions& options) const {
    if (options.text_ranks != nullptr) return shared_text(options.ring_scheme, *options.text_ranks);
    return [settings = settings_](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      return kernels::sliding_window_attention(settings.angles->turn(q, 0), settings.angles->turn(k, 0), v,
                                               settings.slopes, /*window=*/q.size(1), settings.scale);
    };
  }

  Attend shared_text(parallel::RingScheme scheme, parallel::Communicator& ranks) const {
    return [settings = settings_, scheme, &ranks](const at::Tensor& q, const at::Tensor& k,
                                                  const at::Tensor& v) {
      std::vector<int64_t> places;
      for (const parallel::PositionRange& range :
           parallel::positions_of(scheme, q.size(1) * ranks.size(), ranks.rank(), ranks.size()))
        for (int64_t i = 0; i < range.count; ++i) places.push_back(range.first + i);
      return ring_attention(settings.angles->turn_at(q, places), settings.angles->turn_at(k, places), v,
                            settings.slopes, settings.scale, scheme, ranks);
    };
  }

  static Attend from_cache(KvCache& cache, size_t layer) {
    return [&cache, layer](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      return cache.attend(layer, q, k, v);
    };
  }

  std::shared_ptr<const ModelConfig> config_;
  AttentionSettings settings_;
  std::vector<std::string> names_;  // "lower.0"
  std::vector<FullLayer> layers_;   // lower first
};

}  // namespace

std::unique_ptr<Backbone> FullKind::make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config) {
  if (!builder.device().is_cpu())
    fail_usage("--device " + builder.device().str(), "full attention runs on the CPU", "use --device cpu");
  return std::make_unique<FullBackbone>(builder, std::move(config));
}

}  // namespace gca::model
