// The whole model on the device under test, the PTX machine or a GPU: forward, backward, optimizer and generation.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <torch/csrc/autograd/autograd.h>

#include <span>
#include <string>
#include <vector>

#include "kernels/adamw/adamw.h"
#include "lib/model/text_feeder.h"
#include "lib/train/step/adamw_optimizer.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/device_under_test.h"
#include "tests/golden_check/check_file.h"
#include "tests/support/doctest.h"

using namespace gca;
using namespace gca::testing;

namespace {

model::LanguageModel model_on(at::Device device, at::ScalarType dtype, const model::ModelConfig& config) {
  model::LanguageModel model(config, dtype, device);
  model.initialise(1);
  return model;
}

struct Step {
  double loss = 0;
  double norm = 0;
  std::vector<at::Tensor> gradients, weights;  // float64, on the CPU
};

at::Tensor plain(const at::Tensor& x) {
  return x.detach().to(at::kCPU).to(at::kDouble);
}

void update(model::LanguageModel& model) {
  train::AdamWOptimizer optimizer(model.weights(), train::TrainConfig{});
  optimizer.update(0, 1e-3, 0.5);
}

/// One optimizer step from the model's first weights.
Step training_step(model::LanguageModel& model, const TextBatch& batch,
                   const model::ForwardOptions& options) {
  const std::unique_ptr<model::Past> past = model.begin();
  const model::LossResult loss = model.loss(model.forward(batch.ids, *past, options), batch.targets);
  torch::autograd::backward({loss.mean}, {});
  Step step;
  step.loss = loss.mean.item<double>();
  std::vector<at::Tensor> gradients;
  for (const model::Weight& weight : model.weights()) {
    const at::Tensor& gradient = weight.master.grad();
    REQUIRE(gradient.defined());
    REQUIRE(gradient.device() == weight.master.device());
    gradients.push_back(gradient);
    step.gradients.push_back(plain(gradient));
  }
  step.norm = kernels::gradient_norm(gradients);
  update(model);
  for (const model::Weight& weight : model.weights()) {
    step.weights.push_back(plain(weight.master));
    if (weight.compute.scalar_type() == at::kBFloat16)
      CHECK(at::equal(weight.compute.to(at::kCPU), weight.master.detach().to(at::kCPU).to(at::kBFloat16)));
  }
  return step;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).norm().item<double>();
}

}  // namespace

TEST_CASE("a training step of the whole model on the device equals that on the CPU") {
  const model::ModelConfig config = device_config();
  const TextBatch one = batch_of(some_text(6 * config.chunk_text_size(), config.vocab_size), config);
  const TextBatch two = batch_of(some_text(6 * config.chunk_text_size(), config.vocab_size, 5), config);
  const TextBatch batch{at::cat({one.ids, two.ids}), at::cat({one.targets, two.targets})};
  model::ForwardOptions options;
  options.draw_gumbel = true;
  options.seed = 7;
  for (const bool recompute : {false, true}) {
    CAPTURE(recompute);
    options.recompute_activations = recompute;
    model::LanguageModel exact_model = model_on(at::kCPU, at::kDouble, config);
    model::LanguageModel cpu_model = model_on(at::kCPU, at::kBFloat16, config);
    model::LanguageModel device_model = model_on(device_under_test(), at::kBFloat16, config);
    const Step exact = training_step(exact_model, batch, options);
    const Step cpu = training_step(cpu_model, batch, options);
    const Step device = training_step(device_model, batch, options);
    // Twice the error of the CPU's bf16, and a rounding of the loss.
    CHECK(std::abs(device.loss - exact.loss) <= 2 * std::abs(cpu.loss - exact.loss) + 1e-4);
    CHECK(device.norm == doctest::Approx(exact.norm).epsilon(0.01));
    for (size_t i = 0; i < exact.gradients.size(); ++i) {
      CAPTURE(cpu_model.weights()[i].name);
      CHECK(distance(device.gradients[i], exact.gradients[i]) <=
            3 * distance(cpu.gradients[i], exact.gradients[i]) + 1e-9);
    }
    // The device's gradients through the CPU's optimizer.
    model::LanguageModel updated = model_on(at::kCPU, at::kBFloat16, config);
    for (size_t i = 0; i < updated.weights().size(); ++i)
      updated.weights()[i].master.mutable_grad() = device.gradients[i].to(at::kFloat);
    update(updated);
    for (size_t i = 0; i < updated.weights().size(); ++i) {
      CAPTURE(updated.weights()[i].name);
      CHECK(at::allclose(plain(updated.weights()[i].master), device.weights[i], 1e-5, 1e-7));
    }
  }
  require_launched({"gca_forward_kernel", "gca_backward_queries_kernel", "gca_backward_chunks_kernel",
                    "window_forward_kernel", "window_backward_queries_kernel", "window_backward_keys_kernel",
                    "landmark_topk_kernel", "gumbel_noise_kernel", "rms_norm_kernel",
                    "rms_norm_backward_kernel", "swiglu_kernel", "swiglu_backward_kernel", "rotary_kernel",
                    "embedding_gradient_kernel", "cross_entropy_statistics_kernel",
                    "cross_entropy_gradient_kernel", "adamw_kernel", "sum_of_squares_kernel"});
}

TEST_CASE("golden files on the device: operators and the whole model, within the bounds of bf16") {
  for (const char* name : {"gca-s64", "swa-dh64", "s64-g2"}) {
    CAPTURE(name);
    const std::string path = std::string(GCA_GOLDEN_DIR) + "/" + name + ".safetensors";
    for (const golden::Quantity& quantity : golden::check_file(path, at::kBFloat16, device_under_test())) {
      CAPTURE(quantity.name);
      CAPTURE(quantity.error);
      CAPTURE(quantity.bound);
      CHECK(quantity.passed());
    }
  }
}

TEST_CASE("golden files of grouped cross-attention on a device of Hopper's capability go through wgmma") {
  stand_for_capability(9);
  const std::string path = std::string(GCA_GOLDEN_DIR) + "/gca-s64.safetensors";
  for (const golden::Quantity& quantity : golden::check_file(path, at::kBFloat16, device_under_test())) {
    CAPTURE(quantity.name);
    CHECK(quantity.passed());
  }
  stand_for_capability(8);
  require_launched({"gca_forward_sm90_kernel"});
}

TEST_CASE("text fed in segments and token by token on the device gives the logits of one batch") {
  for (const char* long_range : {"gca", "none"}) {
    CAPTURE(long_range);
    model::ModelConfig config = device_config();
    config.long_range = long_range;
    const model::LanguageModel model = model_on(device_under_test(), at::kBFloat16, config);
    const model::LanguageModel exact_model = model_on(at::kCPU, at::kDouble, config);
    const model::LanguageModel cpu_model = model_on(at::kCPU, at::kBFloat16, config);
    const std::vector<int32_t> text = some_text(60, config.vocab_size);
    const at::NoGradGuard no_grad;
    const auto logits_of = [&](const model::LanguageModel& one) {
      model::TextFeeder feeder(one, {}, 2 * config.chunk_size);
      std::vector<at::Tensor> rows;
      const auto keep = [&](const at::Tensor& hidden, int64_t) { rows.push_back(plain(one.logits(hidden))); };
      feeder.feed(std::span(text).first(40), keep);
      for (size_t i = 40; i < text.size(); ++i) feeder.feed(std::span(text).subspan(i, 1), keep);
      return at::cat(rows, 1);
    };
    const at::Tensor exact = logits_of(exact_model);
    CHECK(distance(logits_of(model), exact) <= 2 * distance(logits_of(cpu_model), exact));
  }
  require_launched({"window_decode_kernel", "gca_decode_kernel"});
}
