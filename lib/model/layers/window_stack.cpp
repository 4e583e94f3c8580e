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

Residual WindowStack::run(Residual h, std::span<WindowCache> windows, const at::Tensor& slopes,
                          const std::shared_ptr<const ModelConfig>& config,
                          const ForwardOptions& options) const {
  for (size_t i = 0; i < layers.size(); ++i) {
    WindowCache* window = at::GradMode::is_enabled() ? nullptr : &windows[i];
    const auto run = [&layer = layers[i], slopes, config, window](const Residual& in) {
      return layer.forward(in, slopes, *config, window);
    };
    h = run_layer(run, h, options);
    if (i + 1 < layers.size()) observe(options, numbered(prefix, i), h);
  }
  return h;
}

}  // namespace gca::model
