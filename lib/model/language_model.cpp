#include "lib/model/language_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "kernels/common/implementation.h"
#include "kernels/embedding/embedding.h"
#include "kernels/linear/linear_few_rows.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy.h"
#include "kernels/matrix_product/matrix_product.h"
#include "lib/model/backbone_kinds.h"

namespace gca::model {
namespace {

std::shared_ptr<const ModelConfig> completed(ModelConfig config) {
  config.validate("model configuration");
  config.d_ff = config.ff_size();
  config.landmark_id = config.resolved_landmark_id();
  return std::make_shared<const ModelConfig>(std::move(config));
}

template <class... Kinds>
std::unique_ptr<Backbone> make_backbone(KindList<Kinds...> /*list*/, WeightBuilder& builder,
                                        const std::shared_ptr<const ModelConfig>& config) {
  const BackboneKind* wanted = &backbone_kind(*config);
  std::unique_ptr<Backbone> backbone;
  const auto make_if_wanted = [&](const BackboneKind& kind, const auto& make) {
    if (&kind == wanted) backbone = make(builder, config);
  };
  (make_if_wanted(Kinds::kind, Kinds::make), ...);
  return backbone;
}

}  // namespace

LanguageModel::LanguageModel(ModelConfig config, at::ScalarType compute_dtype, at::Device device,
                             WeightDtype weight_dtype, Masters masters)
    : config_(completed(std::move(config))), compute_dtype_(compute_dtype) {
  WeightBuilder builder(compute_dtype, device, weight_dtype, masters);
  builder.begin_group(WeightGroup::embedding);
  tok_emb_ = builder.matrix("tok_emb", config_->vocab_size, config_->d_model);
  backbone_ = make_backbone(BackboneKinds{}, builder, config_);
  builder.begin_group(WeightGroup::upper);
  out_norm_ = {builder.norm("out_norm", config_->d_model), config_->norm_eps};
  if (!config_->tied_output) lm_head_ = builder.matrix("lm_head", config_->vocab_size, config_->d_model);
  weights_ = builder.take();
}

at::Tensor LanguageModel::forward(const at::Tensor& ids, Past& past, const ForwardOptions& options) const {
  const bool with_gradients = at::GradMode::is_enabled();
  TORCH_CHECK(!with_gradients || past.position() == 0 || options.text_ranks != nullptr,
              "gradients do not cross segments: start from a new past");
  TORCH_CHECK(!with_gradients || !options.memory_only, "chunk memory alone has no gradients");
  if (ids.numel() == 1 && !with_gradients && !options.observe && !options.memory_only &&
      options.choices == ChoiceDetail::last) {
    const at::Tensor hidden =
        backbone_->run_row(tok_emb_.master[ids.item<int64_t>()].to(wide_dtype()), out_norm_, past, options);
    if (hidden.defined()) return hidden;
  }
  const at::Tensor embedded = kernels::embedding(tok_emb_.master, ids.to(device())).to(wide_dtype());
  const Residual h = backbone_->run(embedded, out_norm_, past, options);  // (B, n, d)
  if (options.memory_only) return {};
  const at::Tensor hidden = normalise(h, out_norm_, compute_dtype_).y;
  if (options.observe) options.observe("hidden", hidden);
  return hidden;
}

at::Tensor LanguageModel::logits(const at::Tensor& hidden) const {
  const at::ScalarType wide = wide_dtype();
  const Weight& weight = output();
  if (at::GradMode::is_enabled()) return project(hidden, weight).to(wide);
  // Sums are kept as they are: logits decide between tokens.
  if (kernels::implementation() != kernels::Implementation::reference) {
    if (weight.int8.defined() && kernels::takes_few_rows(hidden, weight.int8))
      return kernels::linear_few_rows(hidden, weight.int8, wide);
    if (!weight.int8.defined() && kernels::takes_few_rows(hidden, weight.compute))
      return kernels::linear_few_rows(hidden, weight.compute, wide);
  }
  std::vector<int64_t> shape = hidden.sizes().vec();
  shape.back() = config_->vocab_size;
  const at::Tensor rows = hidden.reshape({-1, config_->d_model});
  return kernels::matrix_product(rows, output_matrix().t(), wide).reshape(shape);
}

LossResult LanguageModel::loss(const at::Tensor& hidden, const at::Tensor& targets) const {
  TORCH_CHECK(!at::GradMode::is_enabled() || weight_dtype() == WeightDtype::compute,
              "a model with int8 weights has no gradients");
  auto [mean, per_target] =
      kernels::linear_cross_entropy(hidden.reshape({-1, config_->d_model}), output().master, output_matrix(),
                                    targets.to(device()).reshape({-1}));
  return {mean, per_target.view(targets.sizes())};
}

void LanguageModel::refresh_compute_weights() {
  const at::NoGradGuard no_grad;
  for (Weight& weight : weights_) {
    if (weight.int8.defined())
      kernels::quantise_weight(weight.master, weight.int8);
    else if (!weight.compute.is_same(weight.master))
      weight.compute.copy_(weight.master);
  }
}

at::Tensor LanguageModel::output_matrix() const {
  const Weight& weight = output();
  return weight.int8.defined() ? kernels::restore_weight(weight.int8, compute_dtype_) : weight.compute;
}

double LanguageModel::decoding_bytes_per_token(int64_t context) const {
  const auto element_bytes = static_cast<double>(c10::elementSize(compute_dtype_));
  const ModelCost total = cost(context);
  return weight_dtype() == WeightDtype::int8
             ? total.decoding_bytes_per_token(element_bytes, sizeof(int8_t), sizeof(float))
             : total.decoding_bytes_per_token(element_bytes, element_bytes, 0);
}

int64_t LanguageModel::parameter_count() const {
  int64_t count = 0;
  for (const Weight& weight : weights_)
    if (weight.rules.trained) count += weight.master.numel();
  return count;
}

}  // namespace gca::model
