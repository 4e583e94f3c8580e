// LongVQ: sliding windows below; above, windows and codes for the keys beyond them (vq_attention.h), queries
// and keys of a damped mean of the text, and a gate.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/damped_mean/damped_mean.h"
#include "kernels/nearest_code/nearest_code.h"
#include "kernels/rms_norm/rms_norm.h"
#include "lib/core/error.h"
#include "lib/model/backbone.h"
#include "lib/model/backbones/longvq/codebook.h"
#include "lib/model/backbones/longvq/longvq_kind.h"
#include "lib/model/backbones/longvq/vq_attention.h"
#include "lib/model/layers/window_stack.h"

namespace gca::model {
namespace {

/// The damped mean at the start: sigmoid(4), 0.98, of it is the position itself. Slower ones make neighbouring
/// keys alike, and fewer codes come into use.
constexpr double kRateAtStart = 4.0;

/// What an upper layer keeps beside its window; of constant size.
struct LayerState {
  at::Tensor mean;  ///< (B, d), masters' type: the damped mean at the last position
  FarKeys far;

  LayerState clone() const {
    const auto copy = [](const at::Tensor& x) { return x.defined() ? x.clone() : x; };
    return {copy(mean), {copy(far.count), copy(far.sum)}};
  }
  int64_t size_bytes() const { return gca::model::size_bytes(mean) + far.size_bytes(); }
};

class LongvqPast final : public Past {
 public:
  LongvqPast(int64_t at_position, size_t lower_layers, size_t upper_layers)
      : Past(at_position, nullptr), windows(lower_layers + upper_layers), states(upper_layers) {}

  std::unique_ptr<Past> clone() const override {
    auto copy = std::make_unique<LongvqPast>(position_, 0, 0);
    copy->windows = clones_of(windows);
    copy->states = clones_of(states);
    return copy;
  }
  int64_t size_bytes() const override {
    return gca::model::size_bytes(windows) + gca::model::size_bytes(states);
  }
  void visit(const Visitor& visitor) override {
    visit_windows(windows, visitor);
    for (size_t j = 0; j < states.size(); ++j) {
      visitor(numbered("upper.", j, ".mean"), states[j].mean);
      visitor(numbered("upper.", j, ".code_counts"), states[j].far.count);
      visitor(numbered("upper.", j, ".code_sums"), states[j].far.sum);
      states[j] = states[j].clone();  // counts and sums are written in place
    }
  }
  void advance(int64_t positions) { position_ += positions; }

  std::vector<WindowCache> windows;  ///< one a layer, lower first
  std::vector<LayerState> states;    ///< one an upper layer
};

class LongvqStepNotes final : public StepNotes {
 public:
  explicit LongvqStepNotes(size_t upper_layers) : layers(upper_layers) {}
  std::vector<KeyCounts> layers;
};

/// What an upper layer has beside the weights of a decoder layer.
struct CodedAttention {
  Weight ema;     ///< (d): the rate of the damped mean
  Weight w_gate;  ///< (d, d)
  Norm q_norm;    ///< (dh)
  Codebook codebook;
};

class LongvqBackbone final : public Backbone {
 public:
  LongvqBackbone(WeightBuilder& builder, std::shared_ptr<const ModelConfig> config)
      : config_(std::move(config)),
        slopes_(make_slopes(builder, *config_)),
        key_norm_(at::ones({config_->head_dim()}, builder.master_dtype())) {
    std::tie(lower_, upper_) = claim_stacks(builder, *config_);
    const int64_t d = config_->d_model;
    const auto constant = [](double value) {
      return WeightRules{.start = [value](int64_t, const PhiloxBlock&) { return value; }};
    };
    for (size_t j = 0; j < upper_.layers.size(); ++j) {
      const std::string prefix = numbered("upper.", j);
      CodedAttention own;
      own.ema = builder.parameter(prefix + ".attn.ema", {d}, constant(kRateAtStart));
      own.w_gate = builder.matrix(prefix + ".attn.w_gate", d, d, constant(0.0));
      own.q_norm = {builder.norm(prefix + ".attn.q_norm", config_->head_dim()), config_->norm_eps};
      own.codebook = Codebook::claim(builder, prefix + ".codebook", config_->n_heads, config_->codebook_size,
                                     config_->head_dim());
      coded_.push_back(std::move(own));
    }
  }

  std::unique_ptr<Past> begin(int64_t position) const override {
    return std::make_unique<LongvqPast>(position, lower_.layers.size(), upper_.layers.size());
  }

  Residual run(const at::Tensor& embedded, const Norm& /*final_norm*/, Past& any_past,
               const ForwardOptions& options) const override {
    auto& past = past_as<LongvqPast>(any_past);
    const auto config = options.config ? options.config : config_;
    const auto lower_windows = std::span(past.windows).first(lower_.layers.size());
    const at::Tensor h_low = lower_.run({embedded, {}}, lower_windows, slopes_, config, options).sum();
    observe(options, "h_low", h_low);
    const bool trains = at::GradMode::is_enabled();
    const LayerMix mix = [this, &past, trains, config, options](size_t layer, const at::Tensor& x) {
      return trains ? train(layer, x, *config, options) : read(layer, x, *config, past);
    };
    const Residual h = upper_.run_with(mix, {h_low, {}}, options);
    past.advance(embedded.size(1));
    // Codes know of every position: no layer may be left out.
    if (options.memory_only) return {};
    if (!upper_.layers.empty()) observe(options, numbered("upper.", upper_.layers.size() - 1), h);
    return h;
  }

  std::shared_ptr<StepNotes> begin_step() const override {
    return std::make_shared<LongvqStepNotes>(upper_.layers.size());
  }

  void end_step(StepNotes& notes, const ForwardOptions& options) override {
    const auto& step = dynamic_cast<const LongvqStepNotes&>(notes);
    for (size_t j = 0; j < coded_.size(); ++j)
      coded_[j].codebook.update(step.layers[j], options.codebook_decay, options.codebook_revival);
  }

 private:
  /// Queries and keys of the damped mean, normalised; values of x itself.
  Qkv project(size_t layer, const at::Tensor& x, const at::Tensor& mean, const ModelConfig& config) const {
    const AttentionWeights& weights = upper_.layers[layer].attn;
    const std::vector<at::Tensor> qk = project_each(mean, {&weights.wq, &weights.wk});
    const std::vector<int64_t> shape = {x.size(0), x.size(1), config.n_heads, config.head_dim()};
    const at::ScalarType wide = key_norm_.scalar_type();
    return {coded_[layer].q_norm(qk[0].view(shape).to(wide), x.scalar_type()),
            kernels::rms_norm(qk[1].view(shape).to(wide), key_norm_, config.norm_eps, x.scalar_type()),
            gca::model::project(x, weights.wv).view(shape)};
  }

  at::Tensor gated(size_t layer, const at::Tensor& x, const at::Tensor& read) const {
    const at::ScalarType wide = key_norm_.scalar_type();
    const at::Tensor gate = gca::model::project(x, coded_[layer].w_gate).to(wide);
    return (read.reshape(x.sizes()).to(wide) * (2 * at::sigmoid(gate))).to(x.scalar_type());
  }

  at::Tensor train(size_t layer, const at::Tensor& x, const ModelConfig& config,
                   const ForwardOptions& options) const {
    // A layer that will be run again is not counted, nor shown, the first time.
    const bool is_first_of_two = !at::GradMode::is_enabled();
    const CodedAttention& own = coded_[layer];
    Qkv qkv = project(layer, x, kernels::damped_mean(x, own.ema.master), config);
    const at::Tensor codes = own.codebook.codes();
    const at::Tensor z = kernels::nearest_code(qkv.k, codes);
    const at::Tensor nearest = codewords(codes, z);
    if (!is_first_of_two) {
      observe(options, numbered("codes.", layer), z);
      if (options.observe)
        observe(options, numbered("commitment.", layer), at::mse_loss(qkv.k.detach().to(codes), nearest));
      if (options.step_notes)
        dynamic_cast<LongvqStepNotes&>(*options.step_notes)
            .layers[layer]
            .add(qkv.k, z, config.codebook_size, {options.seed, options.step, layer, options.batch_offset});
    }
    qkv.k = committed(qkv.k, nearest, options.commitment_weight * options.loss_share);
    return gated(layer, x,
                 vq_attention(qkv.q, qkv.k, qkv.v, codes, z, config.window_size, score_scale(config),
                              options.codebook_straight_through));
  }

  at::Tensor read(size_t layer, const at::Tensor& x, const ModelConfig& config, LongvqPast& past) const {
    const CodedAttention& own = coded_[layer];
    LayerState& state = past.states[layer];
    const at::Tensor mean = kernels::damped_mean_after(x, own.ema.master, state.mean);
    const Qkv qkv = project(layer, x, mean, config);
    const WindowCache::Rows rows =
        past.windows[lower_.layers.size() + layer].append(qkv.k, qkv.v, config.window_size);
    return gated(layer, x,
                 read_codes(qkv.q, rows.keys, rows.values, own.codebook.codes(), past.position(),
                            config.window_size, score_scale(config), state.far));
  }

  std::shared_ptr<const ModelConfig> config_;
  at::Tensor slopes_;    // (H) of the lower layers
  at::Tensor key_norm_;  // (dh) ones
  WindowStack lower_, upper_;
  std::vector<CodedAttention> coded_;  // one an upper layer
};

}  // namespace

std::unique_ptr<Backbone> LongvqKind::make(WeightBuilder& builder,
                                           std::shared_ptr<const ModelConfig> config) {
  if (!builder.device().is_cpu())
    fail_usage("--device " + builder.device().str(), "codes for keys run on the CPU", "use --device cpu");
  return std::make_unique<LongvqBackbone>(builder, std::move(config));
}

}  // namespace gca::model
