#include "lib/model/layers/window_stack.h"

#include <ATen/core/grad_mode.h>

#include "lib/model/layers/recompute.h"

namespace gca::model {

std::string numbered(const std::string& prefix, size_t number, const std::string& suffix) {
  return prefix + std::to_string(number) + suffix;
}

void observe(const ForwardOptions& options, const std::string& name, const at::Tensor& value) {
  if (options.observe) options.observe(name, value);
}

void observe(const ForwardOptions& options, const std::string& name, const Residual& value) {
  if (options.observe) options.observe(name, value.sum());
}

Residual run_layer(const std::function<Residual(const Residual&)>& run, const Residual& in,
                   const ForwardOptions& options) {
  if (!options.recompute_activations || !at::GradMode::is_enabled()) return run(in);
  const auto again = [run](const std::vector<at::Tensor>& h) { return run(Residual{h[0], {}}).sum(); };
  return {recompute(again, {in.sum()}), {}};
}

WindowStack WindowStack::claim(WeightBuilder& builder, const std::string& prefix, int64_t layer_count,
                               const ModelConfig& config) {
  WindowStack stack{prefix, {}};
  for (int64_t i = 0; i < layer_count; ++i)
    stack.layers.push_back(DecoderLayer::claim(builder, numbered(prefix, static_cast<size_t>(i)), config));
  return stack;
}

Residual WindowStack::run_with(const LayerMix& mix, Residual h, const ForwardOptions& options) const {
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto run = [&layer = layers[i], mix, i, name = numbered(prefix, i, ".mix"),
                      observer = options.observe](const Residual& in) {
      return layer.forward(in, [&](const at::Tensor& x) {
        at::Tensor read = mix(i, x);
        if (observer) observer(name, read);
        return read;
      });
    };
    h = run_layer(run, h, options);
    if (i + 1 < layers.size()) observe(options, numbered(prefix, i), h);
  }
  return h;
}

Residual WindowStack::run(Residual h, std::span<WindowCache> windows, const at::Tensor& slopes,
                          const std::shared_ptr<const ModelConfig>& config,
                          const ForwardOptions& options) const {
  const bool uses_windows = !at::GradMode::is_enabled();
  const LayerMix mix = [this, windows, uses_windows, slopes, config, text_ranks = options.text_ranks](
                           size_t i, const at::Tensor& x) {
    return window_mix(layers[i].attn, x, slopes, *config, uses_windows ? &windows[i] : nullptr, text_ranks);
  };
  return run_with(mix, std::move(h), options);
}

std::pair<WindowStack, WindowStack> claim_stacks(WeightBuilder& builder, const ModelConfig& config) {
  builder.begin_group(WeightGroup::lower);
  WindowStack lower = WindowStack::claim(builder, "lower.", config.n_lower_layers, config);
  builder.begin_group(WeightGroup::upper);
  return {std::move(lower), WindowStack::claim(builder, "upper.", config.n_upper_layers, config)};
}

}  // namespace gca::model
