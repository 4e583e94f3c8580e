// The Focused Transformer: sliding windows, and upper layers among them that read a memory of all earlier
// keys and values (crossbatch_attention.h while they train, memory_attention.h after).

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/model/backbone.h"
#include "lib/model/backbones/fot/crossbatch_attention.h"
#include "lib/model/backbones/fot/fot_kind.h"
#include "lib/model/backbones/fot/memory_attention.h"
#include "lib/model/backbones/fot/memory_row.h"
#include "lib/model/layers/searched_rows.h"
#include "lib/model/layers/window_stack.h"
#include "lib/model/rows/row_decoder.h"
#include "lib/model/rows/window_row.h"

namespace gca::model {
namespace {

class FotPast final : public Past {
 public:
  FotPast(int64_t at_position, size_t layers, size_t memory_layers)
      : Past(at_position, nullptr), windows(layers), memories(memory_layers) {}

  std::unique_ptr<Past> clone() const override {
    auto copy = std::make_unique<FotPast>(position_, 0, 0);
    copy->windows = clones_of(windows);
    copy->memories = clones_of(memories);
    copy->told = told;
    return copy;
  }
  int64_t size_bytes() const override {
    return gca::model::size_bytes(windows) + gca::model::size_bytes(memories);
  }
  void visit(const Visitor& visitor) override {
    visit_windows(windows, visitor);
    visit_rows(memories, "memory.", visitor);
  }
  std::vector<Choices> choices() const override { return told; }
  void advance(int64_t positions) { position_ += positions; }

  std::vector<WindowCache> windows;    ///< one a layer, lower first; unused in memory layers
  std::vector<SearchedRows> memories;  ///< one a memory layer, in the order of the configuration
  std::vector<Choices> told;  ///< of the last run, an entry a head of a memory layer, where asked for
};

class FotBackbone final : public Backbone {
 public:
  FotBackbone(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config)
      : config_(std::move(config)), slopes_(make_slopes(builder, *config_)) {
    std::tie(lower_, upper_) = claim_stacks(builder, *config_);
  }

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<FotPast>(position, lower_.layers.size() + upper_.layers.size(),
                                     config_->memory_layers.size());
  }

  Residual run(const at::Tensor& embedded, const Norm& /*final_norm*/, Past& any_past,
               const ForwardOptions& options) const override {
    auto& past = past_as<FotPast>(any_past);
    const auto config = options.config ? options.config : config_;
    const auto lower_windows = std::span(past.windows).first(lower_.layers.size());
    const auto upper_windows = std::span(past.windows).subspan(lower_.layers.size());
    const at::Tensor h_low = lower_.run({embedded, {}}, lower_windows, slopes_, config, options).sum();
    observe(options, "h_low", h_low);
    past.advance(embedded.size(1));
    past.told.clear();
    if (options.memory_only) {
      // What upper layers know of earlier positions is of no use once some have been left out.
      std::fill(upper_windows.begin(), upper_windows.end(), WindowCache());
      past.memories.assign(past.memories.size(), {});
      return {};
    }
    const bool trains = at::GradMode::is_enabled();
    const CrossbatchRange range{config->local_context_size, options.crossbatch_contexts,
                                options.crossbatch_stepping};
    const bool tells = options.choices != ChoiceDetail::last && !trains;
    if (tells) past.told.resize(config->memory_layers.size() * static_cast<size_t>(config->n_heads));
    const MemoryRange read = memory_range(*config, options);
    const LayerMix mix = [this, &past, upper_windows, trains, tells, range, read, config](
                             size_t layer, const at::Tensor& x) {
      const AttentionWeights& weights = upper_.layers[layer].attn;
      const auto place = memory_of(layer);
      if (place < 0)
        return window_mix(weights, x, slopes_, *config, trains ? nullptr : &upper_windows[layer]);
      const Qkv qkv = project_qkv(weights, x, *config);
      if (trains)
        return crossbatch_attention(qkv.q, qkv.k, qkv.v, range, score_scale(*config)).reshape(x.sizes());
      SearchedRows& memory = past.memories[static_cast<size_t>(place)];
      memory.append(qkv.k, qkv.v);
      if (read.top_k > 0 && read.reads_memory) memory.index().follow(memory.keys());
      const MemoryReading reading =
          memory_attention(qkv.q, memory.keys(), memory.values(), read, score_scale(*config), memory.index());
      if (tells) {
        const MemoryChoice choice =
            memory_choice(qkv.q, memory.keys(), reading.lse, read, score_scale(*config));
        std::ranges::copy(choices_of_heads(choice.positions, choice.shares),
                          past.told.begin() + place * config->n_heads);
      }
      return reading.out.reshape(x.sizes());
    };
    const Residual h = upper_.run_with(mix, {h_low, {}}, options);
    if (!upper_.layers.empty()) observe(options, numbered("upper.", upper_.layers.size() - 1), h);
    return h;
  }

  at::Tensor run_row(const at::Tensor& embedding, const Norm& final_norm, Past& any_past,
                     const ForwardOptions& options) const override {
    auto& past = past_as<FotPast>(any_past);
    const ModelConfig& config = options.config ? *options.config : *config_;
    const auto windows = std::span(past.windows);
    std::vector<RowLayer> layers;
    add_row_layers(lower_, windows.first(lower_.layers.size()), slopes_, config, layers);
    for (size_t j = 0; j < upper_.layers.size(); ++j) {
      const auto place = memory_of(j);
      const at::ScalarType dtype = upper_.layers[j].attn.wq.compute_dtype;
      layers.push_back(row_layer(
          upper_.layers[j], place < 0 ? window_row(windows[lower_.layers.size() + j], slopes_, config, dtype)
                                      : memory_row(past.memories[static_cast<size_t>(place)],
                                                   memory_range(config, options), config, dtype)));
    }
    if (!can_decode_row(layers)) return {};
    past.told.clear();
    past.advance(1);
    return decode_row({layers, /*tapped=*/layers.size(), final_norm, config}, embedding).hidden;
  }

 private:
  static MemoryRange memory_range(const ModelConfig& config, const ForwardOptions& options) {
    return {config.local_context_size, config.memory_top_k, options.retriever != Retriever::none};
  }

  /// Which of the memory layers upper layer `layer` is; -1: none.
  int64_t memory_of(size_t layer) const {
    const std::vector<int64_t>& all = config_->memory_layers;
    const auto place = std::find(all.begin(), all.end(), static_cast<int64_t>(layer));
    return place == all.end() ? -1 : place - all.begin();
  }

  std::shared_ptr<const ModelConfig> config_;
  at::Tensor slopes_;  // (H)
  WindowStack lower_, upper_;
};

}  // namespace

std::unique_ptr<Backbone> FotKind::make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config) {
  return std::make_unique<FotBackbone>(builder, std::move(config));
}

}  // namespace gca::model
