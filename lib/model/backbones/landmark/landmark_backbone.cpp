// Landmark attention (Mohtashami and Jaggi, arXiv 2305.16300) in the upper layers: while they train, the
// grouped softmax over the whole text; after, local segments and the blocks that they find by their landmarks
// (landmark_reading.h).

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/landmark_attention/landmark_attention.h"
#include "kernels/rotary/rotary.h"
#include "lib/model/backbone.h"
#include "lib/model/backbones/landmark/landmark_kind.h"
#include "lib/model/backbones/landmark/landmark_reading.h"
#include "lib/model/backbones/landmark/landmark_row.h"
#include "lib/model/layers/searched_rows.h"
#include "lib/model/layers/window_stack.h"
#include "lib/model/rows/row_decoder.h"

namespace gca::model {
namespace {

class LandmarkPast final : public Past {
 public:
  LandmarkPast(int64_t at_position, size_t lower_layers, size_t upper_layers)
      : Past(at_position, nullptr), windows(lower_layers), upper(upper_layers) {}

  std::unique_ptr<Past> clone() const override {
    auto copy = std::make_unique<LandmarkPast>(position_, 0, 0);
    copy->windows = clones_of(windows);
    copy->upper = clones_of(upper);
    copy->told = told;
    return copy;
  }
  int64_t size_bytes() const override {
    return gca::model::size_bytes(windows) + gca::model::size_bytes(upper);
  }
  void visit(const Visitor& visitor) override {
    visit_windows(windows, visitor);
    visit_rows(upper, "upper.", visitor);
  }
  std::vector<Choices> choices() const override { return told; }
  void advance(int64_t positions) { position_ += positions; }

  std::vector<WindowCache> windows;  ///< of the lower layers
  std::vector<SearchedRows> upper;   ///< all keys, as landmark_reading() wants them, and values
  std::vector<Choices> told;         ///< of the last run, an entry a head of a layer, where asked for
};

class LandmarkBackbone final : public Backbone {
 public:
  LandmarkBackbone(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config)
      : config_(std::move(config)), slopes_(make_slopes(builder, *config_)) {
    std::tie(lower_, upper_) = claim_stacks(builder, *config_);
  }

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<LandmarkPast>(position, lower_.layers.size(), upper_.layers.size());
  }

  Residual run(const at::Tensor& embedded, const Norm& /*final_norm*/, Past& any_past,
               const ForwardOptions& options) const override {
    auto& past = past_as<LandmarkPast>(any_past);
    const auto config = options.config ? options.config : config_;
    const int64_t position = past.position();
    const at::Tensor h_low = lower_.run({embedded, {}}, past.windows, slopes_, config, options).sum();
    observe(options, "h_low", h_low);
    past.advance(embedded.size(1));
    past.told.clear();
    if (options.memory_only) {
      past.upper.assign(past.upper.size(), {});
      return {};
    }
    const bool trains = at::GradMode::is_enabled();
    const LandmarkReadingSettings settings = reading_settings(*config, options);
    const bool tells = options.choices != ChoiceDetail::last;
    const LayerMix mix = [this, &past, position, trains, tells, settings, config, observer = options.observe](
                             size_t layer, const at::Tensor& x) {
      const Qkv qkv = project_qkv(upper_.layers[layer].attn, x, *config);
      if (trains) return train(qkv, *config).reshape(x.sizes());
      const LandmarkReading reading = read(qkv, past.upper[layer], position, settings);
      if (observer) observer(numbered("idx.", layer), reading.blocks);
      if (tells)
        std::ranges::copy(choices_of_heads(reading.blocks, reading.shares), std::back_inserter(past.told));
      return reading.out.reshape(x.sizes());
    };
    const Residual h = upper_.run_with(mix, {h_low, {}}, options);
    if (!upper_.layers.empty()) observe(options, numbered("upper.", upper_.layers.size() - 1), h);
    return h;
  }

  at::Tensor run_row(const at::Tensor& embedding, const Norm& final_norm, Past& any_past,
                     const ForwardOptions& options) const override {
    auto& past = past_as<LandmarkPast>(any_past);
    const ModelConfig& config = options.config ? *options.config : *config_;
    const LandmarkReadingSettings settings = reading_settings(config, options);
    if (settings.all_heads && settings.top_k > 0) return {};  // no head knows what the others score
    const BlockTurns turns(past.position(), config.head_dim(), settings);
    std::vector<RowLayer> layers;
    add_row_layers(lower_, past.windows, slopes_, config, layers);
    for (size_t j = 0; j < upper_.layers.size(); ++j)
      layers.push_back(row_layer(upper_.layers[j], landmark_row(past.upper[j], settings, turns, config,
                                                                upper_.layers[j].attn.wq.compute_dtype)));
    if (!can_decode_row(layers)) return {};
    past.told.clear();
    past.advance(1);
    return decode_row({layers, /*tapped=*/layers.size(), final_norm, config}, embedding).hidden;
  }

 private:
  static LandmarkReadingSettings reading_settings(const ModelConfig& config, const ForwardOptions& options) {
    LandmarkReadingSettings settings = LandmarkReadingSettings::of(config);
    if (options.retriever == Retriever::none) settings.top_k = 0;
    return settings;
  }

  static at::Tensor train(const Qkv& qkv, const ModelConfig& config) {
    const bool rotates = config.landmark_positions == "slots";
    const auto placed = [&](const at::Tensor& x) {
      return rotates ? kernels::rotary(x, config.rope_theta) : x;
    };
    return kernels::landmark_attention(placed(qkv.q), placed(qkv.k), qkv.v, config.chunk_size,
                                       score_scale(config));
  }

  /// The index of `history` is that of its landmarks.
  static LandmarkReading read(const Qkv& qkv, SearchedRows& history, int64_t position,
                              const LandmarkReadingSettings& settings) {
    history.append(keys_in_blocks(qkv.k, position, settings), qkv.v);
    if (settings.top_k > 0 && !settings.all_heads)
      history.index().follow(landmarks_of(history.keys(), settings));
    return landmark_reading(qkv.q, history.keys(), history.values(), settings, history.index());
  }

  std::shared_ptr<const ModelConfig> config_;
  at::Tensor slopes_;  // (H)
  WindowStack lower_, upper_;
};

}  // namespace

std::unique_ptr<Backbone> LandmarkKind::make(WeightBuilder& builder,
                                             std::shared_ptr<const ModelConfig> config) {
  return std::make_unique<LandmarkBackbone>(builder, std::move(config));
}

}  // namespace gca::model
