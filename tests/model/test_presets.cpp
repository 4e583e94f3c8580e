// The named configurations: their sizes as published, and a training step of the paper's models.

#include <ATen/ops/zeros_like.h>
#include <doctest/doctest.h>

#include <torch/csrc/autograd/autograd.h>
#include <nlohmann/json.hpp>

#include "kernels/adamw/adamw.h"
#include "lib/model/presets.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

model::ModelConfig preset(const std::string& name) {
  for (const model::PresetText& text : model::embedded_presets()) {
    if (name != text.name) continue;
    model::ModelConfig config;
    const nlohmann::json json = nlohmann::json::parse(text.text);
    for (const auto& [key, value] : json.items())
      set_field(config, model::model_config_fields(), name, key, value);
    if (config.vocab_size == 0) config.vocab_size = 4096;
    return config;
  }
  FAIL("no preset " << name);
  return {};
}

/// The number of weights from the architecture's own formula, counted part by part.
int64_t expected_parameters(const model::ModelConfig& c) {
  const int64_t d = c.d_model;
  const int64_t layer = 4 * d * d + 3 * d * c.ff_size() + 2 * d;
  return c.vocab_size * d + c.n_lower_layers * layer + (c.n_encoder_layers * layer + 2 * d) +
         2 * c.n_kv_heads * c.head_dim() * d + c.retrieval_groups * d +
         c.n_upper_layers * (layer + 2 * d * d + d) + d;
}

/// Loss before and after one AdamW step on the same short text.
std::pair<double, double> one_training_step(const std::string& name) {
  model::LanguageModel model(preset(name), at::kFloat);
  model.initialise(1);
  const model::ModelConfig& config = model.config();
  const TextBatch batch = batch_of(some_text(4 * config.chunk_text_size(), config.vocab_size), config);
  model::ForwardOptions options;
  options.recompute_activations = true;
  const std::unique_ptr<model::Past> past = model.begin();
  const model::LossResult before = model.loss(model.forward(batch.ids, *past, options), batch.targets);
  torch::autograd::backward({before.mean}, {});
  const at::NoGradGuard no_grad;
  for (model::Weight& weight : model.weights()) {
    if (!weight.master.grad().defined()) continue;
    const at::Tensor m = at::zeros_like(weight.master);
    const at::Tensor v = at::zeros_like(weight.master);
    const kernels::AdamWUpdate update{weight.master, weight.master.grad().contiguous(), m, v, {}, 1e-3};
    kernels::adamw_step({&update, 1}, {.step = 1});
    weight.master.mutable_grad() = at::Tensor();
  }
  model.refresh_compute_weights();
  const std::unique_ptr<model::Past> fresh = model.begin();
  const double after = model.loss(model.forward(batch.ids, *fresh, {}), batch.targets).mean.item<double>();
  return {before.mean.item<double>(), after};
}

}  // namespace

TEST_CASE("presets have the published sizes") {
  struct Row {
    const char* name;
    int64_t d, H, W, S, K;
  };
  for (const Row& row :
       {Row{"nano", 64, 2, 64, 16, 2}, Row{"mini", 128, 4, 128, 32, 8}, Row{"small", 256, 4, 256, 64, 8},
        Row{"128m", 768, 12, 512, 64, 8}, Row{"350m", 1024, 16, 512, 64, 8}}) {
    CAPTURE(row.name);
    const model::ModelConfig config = preset(row.name);
    config.validate(row.name);
    CHECK(config.d_model == row.d);
    CHECK(config.n_heads == row.H);
    CHECK(config.window_size == row.W);
    CHECK(config.chunk_size == row.S);
    CHECK(config.chunk_top_k == row.K);
    if (row.d <= 256)
      CHECK(model::LanguageModel(config, at::kFloat).parameter_count() == expected_parameters(config));
  }
}

TEST_CASE("128m takes a training step that lowers the loss" * doctest::test_suite("slow")) {
  const auto [before, after] = one_training_step("128m");
  CHECK(after < before);
}

TEST_CASE("350m takes a training step that lowers the loss" * doctest::test_suite("slow")) {
  const auto [before, after] = one_training_step("350m");
  CHECK(after < before);
}
