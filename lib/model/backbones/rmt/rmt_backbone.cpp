// The Recurrent Memory Transformer: text is cut into segments, and each runs through all layers between read
// and write positions, [m, x, m]. What the write positions have become, after the final norm, is m of the
// next segment. No attention crosses a segment; memory alone does (memory_segment_attention.h).

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/model/backbone.h"
#include "lib/model/backbones/rmt/memory_segment_attention.h"
#include "lib/model/backbones/rmt/rmt_kind.h"
#include "lib/model/backbones/rmt/segment_row.h"
#include "lib/model/layers/recompute.h"
#include "lib/model/layers/window_stack.h"
#include "lib/model/rows/row_decoder.h"

namespace gca::model {
namespace {

using SharedConfig = std::shared_ptr<const ModelConfig>;

class RmtPast final : public Past {
 public:
  RmtPast(int64_t at_position, size_t layer_count) : Past(at_position, nullptr), layers(layer_count) {}

  std::unique_ptr<Past> clone() const override {
    auto copy = std::make_unique<RmtPast>(position_, 0);
    copy->memory_vectors =
        memory_vectors;  // replaced, never written in place, as are keys and values of memory
    for (const OpenSegment& layer : layers)
      copy->layers.push_back(
          {layer.memory_keys, layer.memory_values, layer.text_keys.clone(), layer.text_values.clone()});
    return copy;
  }
  int64_t size_bytes() const override {
    int64_t bytes = gca::model::size_bytes(memory_vectors);
    for (const OpenSegment& layer : layers)
      bytes += gca::model::size_bytes(layer.memory_keys) + gca::model::size_bytes(layer.memory_values) +
               layer.text_keys.size_bytes() + layer.text_values.size_bytes();
    return bytes;
  }
  void visit(const Visitor& visitor) override {
    visitor("memory_vectors", memory_vectors);
    for (size_t i = 0; i < layers.size(); ++i) {
      const std::string name = numbered("segment.", i);
      visitor(name + ".memory_keys", layers[i].memory_keys);
      visitor(name + ".memory_values", layers[i].memory_values);
      layers[i].text_keys.visit(name + ".text_keys", visitor);
      layers[i].text_values.visit(name + ".text_values", visitor);
    }
  }
  void advance(int64_t positions) { position_ += positions; }
  void close_segment() { layers.assign(layers.size(), {}); }

  at::Tensor memory_vectors;        ///< m (B, M, d) of the open segment; undefined before the first
  std::vector<OpenSegment> layers;  ///< lower first
};

class RmtBackbone final : public Backbone {
 public:
  RmtBackbone(WeightBuilder& builder, SharedConfig config)
      : config_(std::move(config)), slopes_(make_slopes(builder, *config_)) {
    builder.begin_group(WeightGroup::memory);
    if (config_->memory_size > 0) memory_ = builder.vectors("memory", config_->memory_size, config_->d_model);
    std::tie(lower_, upper_) = claim_stacks(builder, *config_);
  }

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<RmtPast>(position, lower_.layers.size() + upper_.layers.size());
  }

  Residual run(const at::Tensor& embedded, const Norm& final_norm, Past& past,
               const ForwardOptions& options) const override;
  at::Tensor run_row(const at::Tensor& embedding, const Norm& final_norm, Past& past,
                     const ForwardOptions& options) const override;

 private:
  at::Tensor run_part(const at::Tensor& rows, const SegmentPart& part, RmtPast* past,
                      const SharedConfig& config, const ForwardOptions& options) const;
  at::Tensor read(const AttentionWeights& weights, const at::Tensor& x, const SegmentPart& part,
                  OpenSegment* open, const ModelConfig& config) const;

  SharedConfig config_;
  at::Tensor slopes_;  // (H)
  Weight memory_;      // (M, d), m before the first segment; not claimed where M is 0
  WindowStack lower_, upper_;
};

/// What the parts of a run showed, joined before it is shown: the text positions of a result are those of one
/// run.
class JoinedObservations {
 public:
  /// Shows nothing where parts are run again in the backward pass.
  JoinedObservations(const ForwardOptions& options, bool run_again)
      : options_(options), shows_(options.observe && !run_again) {}

  /// Options to run `part` with.
  ForwardOptions options_of(const SegmentPart& part) {
    ForwardOptions options = options_;
    options.recompute_activations = false;
    options.observe = {};
    if (shows_)
      options.observe = [this, part](const std::string& name, const at::Tensor& value) {
        keep(name, value.narrow(1, part.reading, part.text));
      };
    return options;
  }
  void show() const {
    for (const auto& [name, values] : results_) observe(options_, name, at::cat(values, 1));
  }

 private:
  void keep(const std::string& name, const at::Tensor& value) {
    auto entry =
        std::find_if(results_.begin(), results_.end(), [&](const auto& one) { return one.first == name; });
    if (entry == results_.end()) entry = results_.insert(results_.end(), {name, {}});
    entry->second.push_back(value);
  }

  const ForwardOptions& options_;
  bool shows_;
  std::vector<std::pair<std::string, std::vector<at::Tensor>>> results_;  ///< in the order in which they came
};

Residual RmtBackbone::run(const at::Tensor& embedded, const Norm& final_norm, Past& any_past,
                          const ForwardOptions& options) const {
  auto& past = past_as<RmtPast>(any_past);
  const SharedConfig config = options.config ? options.config : config_;
  const int64_t M = config->memory_size;
  const int64_t n = config->segment_size;
  const int64_t B = embedded.size(0);
  const bool trains = at::GradMode::is_enabled();
  const bool recomputes = trains && options.recompute_activations;
  at::Tensor m = past.memory_vectors;
  if (!m.defined()) m = M > 0 ? memory_.master.expand({B, M, -1}) : embedded.detach().narrow(1, 0, 0);
  JoinedObservations observations(options, recomputes);
  std::vector<at::Tensor> outs;
  for (int64_t begin = 0; begin < embedded.size(1);) {
    const int64_t place = past.position() % n;
    const int64_t segment = past.position() / n;
    const int64_t text = std::min(n - place, embedded.size(1) - begin);
    // While it trains, the end of the text ends its segment; else more may follow.
    const bool ends = place + text == n || trains;
    const SegmentPart part{place == 0 ? M : 0, text, ends ? M : 0};
    if (trains && options.bptt_segments > 0 && segment > 0 && segment % options.bptt_segments == 0)
      m = m.detach();

    const auto run = [this, part, config, open = trains ? nullptr : &past,
                      inner = observations.options_of(part)](const std::vector<at::Tensor>& in) {
      std::vector<at::Tensor> rows;
      if (part.reading > 0) rows.push_back(in[0]);
      rows.push_back(in[1]);
      if (part.writing > 0) rows.push_back(in[0]);
      return run_part(rows.size() == 1 ? rows.front() : at::cat(rows, 1), part, open, config, inner);
    };
    const std::vector<at::Tensor> inputs = {m, embedded.narrow(1, begin, text)};
    const at::Tensor h = recomputes ? recompute(run, inputs) : run(inputs);
    outs.push_back(h.narrow(1, part.reading, text));
    if (part.writing > 0) {
      m = final_norm(h.narrow(1, part.reading + text, M), h.scalar_type());
      if (!trains) past.memory_vectors = m;
      observe(options, numbered("memory.", static_cast<size_t>(segment) + 1), m);
    }
    past.advance(text);
    if (ends) past.close_segment();
    begin += text;
  }
  observations.show();
  if (options.memory_only) return {};
  return {outs.size() == 1 ? outs.front() : at::cat(outs, 1), {}};
}

at::Tensor RmtBackbone::run_row(const at::Tensor& embedding, const Norm& final_norm, Past& any_past,
                                const ForwardOptions& options) const {
  auto& past = past_as<RmtPast>(any_past);
  const ModelConfig& config = options.config ? *options.config : *config_;
  // Read and write positions run beside the first and the last of a segment.
  const int64_t place = past.position() % config.segment_size;
  if (place == 0 || place + 1 == config.segment_size) return {};
  std::vector<RowLayer> layers;
  for (const WindowStack* stack : {&lower_, &upper_})
    for (const DecoderLayer& layer : stack->layers) {
      OpenSegment& open = past.layers[layers.size()];
      layers.push_back(row_layer(layer, segment_row(open, slopes_, config, layer.attn.wq.compute_dtype)));
    }
  if (!can_decode_row(layers)) return {};
  past.advance(1);
  return decode_row({layers, /*tapped=*/layers.size(), final_norm, config}, embedding).hidden;
}

/// Positions of one segment through all layers: (B, reading + text + writing, d).
at::Tensor RmtBackbone::run_part(const at::Tensor& rows, const SegmentPart& part, RmtPast* past,
                                 const SharedConfig& config, const ForwardOptions& options) const {
  const auto mix_of = [&](const WindowStack& stack, size_t first) -> LayerMix {
    return [this, &stack, first, part, past, config](size_t layer, const at::Tensor& x) {
      OpenSegment* open = past == nullptr ? nullptr : &past->layers[first + layer];
      return read(stack.layers[layer].attn, x, part, open, *config);
    };
  };
  Residual h = lower_.run_with(mix_of(lower_, 0), {rows, {}}, options);
  if (!lower_.layers.empty()) observe(options, "h_low", h);
  h = upper_.run_with(mix_of(upper_, lower_.layers.size()), h, options);
  if (!upper_.layers.empty()) observe(options, numbered("upper.", upper_.layers.size() - 1), h);
  return h.sum();
}

at::Tensor RmtBackbone::read(const AttentionWeights& weights, const at::Tensor& x, const SegmentPart& part,
                             OpenSegment* open, const ModelConfig& config) const {
  const Qkv rows = project_qkv(weights, x, config);
  SegmentRows seen = rows_of_part(rows, part);
  if (open != nullptr) {
    if (part.reading > 0 || !open->memory_keys.defined()) {
      // Copies, so that they do not keep the whole part alive.
      open->memory_keys = seen.memory_keys.clone();
      open->memory_values = seen.memory_values.clone();
    }
    seen = {open->memory_keys, open->memory_values, open->text_keys.append(seen.text_keys),
            open->text_values.append(seen.text_values)};
  }
  return memory_segment_attention(rows, part, seen, slopes_, config.window_size, score_scale(config))
      .reshape(x.sizes());
}

}  // namespace

std::unique_ptr<Backbone> RmtKind::make(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config) {
  return std::make_unique<RmtBackbone>(builder, std::move(config));
}

}  // namespace gca::model
