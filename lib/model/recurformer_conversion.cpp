#include "lib/model/recurformer_conversion.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/core/error.h"
#include "lib/model/backbones/recurformer/recurformer_kind.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/layers/window_stack.h"
#include "lib/model/setting_checks.h"

namespace gca::model {
namespace {

std::map<std::string, const Weight*> weights_by_name(const LanguageModel& model) {
  std::map<std::string, const Weight*> weights;
  for (const Weight& weight : model.weights()) weights[weight.name] = &weight;
  return weights;
}

/// Rows of the heads of an output (heads dh, d).
at::Tensor rows_of_heads(const at::Tensor& rows, const std::vector<int64_t>& heads, int64_t dh) {
  return rows.view({-1, dh, rows.size(1)}).index_select(0, at::tensor(heads, at::kLong)).flatten(0, 1);
}

}  // namespace

ModelConfig full_attention_config(const ModelConfig& source, const std::string& where) {
  ModelConfig config = source;
  config.long_range = RecurformerKind::kind.name;
  config.self_attention = RecurformerKind::kind.self_attention;
  config.recurrent_heads.clear();
  if (source.self_attention == "full") {
    require_setting(
        source.position == "alibi" && source.n_kv_heads == source.n_heads && !source.attention_bias &&
            !source.mlp_bias && source.tied_output && source.head_dim() * source.n_heads == source.d_model,
        where, "has full attention with rotary positions, grouped heads, biases or an output of its own",
        "give one with ALiBi and plain heads; recurrent heads stand beside no others");
    config.head_size = 0;
    config.window_size = kLargestSize;  // the lower layers read the whole text, too
    return config;
  }
  const std::string& kind = source.long_range;
  const bool is_open = kind == "tensorized" && source.tensor_fold == std::vector<int64_t>{0};
  const bool is_base = kind == RecurformerKind::kind.name && source.recurrent_heads.empty();
  require_setting(kind == "none" || is_open || is_base, where,
                  "is a model with long_range " + kind + (is_base || is_open ? "" : " as it is"),
                  "give one with long_range none, tensorized with tensor_fold [0], or recurformer without "
                  "recurrent_heads");
  return config;
}

LanguageModel with_weights_of(const LanguageModel& source, const ModelConfig& config) {
  const at::NoGradGuard no_grad;
  LanguageModel model(config, at::kFloat);
  const auto known = weights_by_name(source);
  for (Weight& weight : model.weights()) weight.master.copy_(known.at(weight.name)->master);
  model.refresh_compute_weights();
  return model;
}

RecencyRatios::RecencyRatios(const LanguageModel& model)
    : model_(model),
      near_(at::zeros({model.config().n_upper_layers * model.config().n_heads}, at::kDouble)) {}

void RecencyRatios::add(const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = model_.config();
  const auto weights = weights_by_name(model_);
  const at::Tensor slopes = at::tensor(config.upper_slopes(), at::kDouble).to(at::kFloat);
  const auto measure = [&](int64_t layer, const at::Tensor& h) {
    const std::string prefix = numbered("upper.", static_cast<size_t>(layer));
    const Norm norm{*weights.at(prefix + ".attn_norm"), config.norm_eps};
    const at::Tensor x = norm(h, model_.compute_dtype());
    const std::vector<int64_t> shape = {1, x.size(1), config.n_heads, config.head_dim()};
    const at::Tensor q = project(x, *weights.at(prefix + ".attn.wq")).view(shape);
    const at::Tensor k = project(x, *weights.at(prefix + ".attn.wk")).view(shape);
    const auto log_sum = [&](int64_t window) {  // (1, H, n)
      return std::get<1>(
          kernels::sliding_window_attention_forward(q, k, k, slopes, window, score_scale(config)));
    };
    const at::Tensor near = at::exp(log_sum(kNearDistance - 1) - log_sum(x.size(1)));
    near_.narrow(0, layer * config.n_heads, config.n_heads).add_(near[0].to(at::kDouble).sum(-1));
  };
  ForwardOptions options;
  options.observe = [&](const std::string& name, const at::Tensor& value) {
    for (int64_t layer = 0; layer < config.n_upper_layers; ++layer)
      if (name == (layer == 0 ? "h_low" : numbered("upper.", static_cast<size_t>(layer) - 1)))
        measure(layer, value);
  };
  const std::unique_ptr<Past> past = model_.begin();
  model_.forward(ids, *past, options);
  positions_ += ids.size(1);
}

std::vector<double> RecencyRatios::ratios() const {
  const at::Tensor mean = near_ / std::max<int64_t>(1, positions_);
  const auto* data = mean.const_data_ptr<double>();
  return {data, data + mean.numel()};
}

std::vector<int64_t> most_recent_heads(const std::vector<double>& ratios, double fraction) {
  std::vector<int64_t> heads(ratios.size());
  std::iota(heads.begin(), heads.end(), 0);
  std::stable_sort(heads.begin(), heads.end(), [&](int64_t a, int64_t b) {
    return ratios[static_cast<size_t>(a)] > ratios[static_cast<size_t>(b)];
  });
  heads.resize(static_cast<size_t>(std::nearbyint(fraction * static_cast<double>(ratios.size()))));
  std::sort(heads.begin(), heads.end());
  return heads;
}

LanguageModel with_recurrent_heads(const LanguageModel& model, const std::vector<int64_t>& heads,
                                   uint64_t seed) {
  const at::NoGradGuard no_grad;
  ModelConfig config = model.config();
  config.recurrent_heads = heads;
  const int64_t dh = config.head_dim();
  LanguageModel converted(config, at::kFloat);
  converted.initialise(seed);
  const auto known = weights_by_name(model);
  std::map<std::string, Weight*> own;
  for (Weight& weight : converted.weights()) {
    own[weight.name] = &weight;
    const auto same = known.find(weight.name);
    if (same != known.end() && same->second->master.sizes() == weight.master.sizes())
      weight.master.copy_(same->second->master);
  }
  for (int64_t layer = 0; layer < config.n_upper_layers; ++layer) {
    const HeadsOfLayer of_layer = heads_of_layer(config, layer);
    if (of_layer.recurrent.empty()) continue;
    const std::string prefix = numbered("upper.", static_cast<size_t>(layer));
    if (!of_layer.kept.empty())
      for (const char* name : {".attn.wq", ".attn.wk", ".attn.wv"})
        own.at(prefix + name)
            ->master.copy_(rows_of_heads(known.at(prefix + name)->master, of_layer.kept, dh));
    const at::Tensor& w_in = own.at(prefix + ".mamba.w_in")->master;
    w_in.narrow(0, 0, w_in.size(0) / 2)
        .copy_(rows_of_heads(known.at(prefix + ".attn.wv")->master, of_layer.recurrent, dh));
  }
  converted.refresh_compute_weights();
  return converted;
}

}  // namespace gca::model
