#include "tests/golden_check/architecture_case.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "lib/core/error.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/language_model.h"
#include "tests/golden_check/model_case.h"

namespace gca::golden {
namespace {

nlohmann::json metadata_json(const GoldenFile& golden, const std::string& key) {
  const auto entry = golden.metadata.find(key);
  if (entry == golden.metadata.end()) fail_usage("golden model case", "has no metadata entry " + key);
  return nlohmann::json::parse(entry->second);
}

model::ForwardOptions training_options(const GoldenFile& golden) {
  const nlohmann::json json = metadata_json(golden, "training");
  model::ForwardOptions options;
  options.bptt_segments = json.value("bptt_segments", options.bptt_segments);
  options.crossbatch_contexts = json.value("crossbatch_contexts", options.crossbatch_contexts);
  options.crossbatch_stepping = json.value("crossbatch_stepping", options.crossbatch_stepping);
  options.codebook_straight_through =
      json.value("codebook_straight_through", options.codebook_straight_through);
  options.commitment_weight = json.value("commitment_weight", options.commitment_weight);
  options.codebook_decay = json.value("codebook_decay", options.codebook_decay);
  options.codebook_revival = 0;  // the update that golden files have is the one without
  return options;
}

/// What a run shows, by golden name.
class Shown {
 public:
  explicit Shown(const model::ModelConfig& config)
      : last_lower_("lower." + std::to_string(config.n_lower_layers - 1)) {}

  model::Observer observer() {
    return [this](const std::string& name, const at::Tensor& value) {
      if (value.requires_grad() && !value.is_leaf()) value.retain_grad();
      tensors_[name == "h_low" ? last_lower_ : name] = value;
    };
  }

  void store(const std::string& prefix, NamedTensors& results) const {
    for (const auto& [name, value] : tensors_) {
      results[prefix + name] = value.detach();
      if (value.grad().defined()) results["act_grad/" + name] = value.grad();
    }
  }

 private:
  std::string last_lower_;
  NamedTensors tensors_;
};

}  // namespace

model::ModelConfig architecture_config_of(const GoldenFile& golden) {
  return model::model_config_from_json(metadata_json(golden, "config"), "golden model case");
}

NamedTensors run_architecture_case(const GoldenFile& golden, at::ScalarType dtype, uint64_t jitter,
                                   at::Device device) {
  model::LanguageModel model(architecture_config_of(golden), dtype, device);
  set_weights(model, golden, jitter);
  const data::ChunkLayout layout = model::chunk_layout_of(model.config());
  const CaseBatch batch = batch_of(golden, layout);
  const int64_t T = golden.tensors.at("input/tokens").size(1);

  NamedTensors results;
  {
    Shown shown(model.config());
    model::ForwardOptions options = training_options(golden);
    options.observe = shown.observer();
    options.step_notes = model.begin_step();
    const std::unique_ptr<model::Past> past = model.begin();
    const at::Tensor hidden = model.forward(batch.ids, *past, options);
    const model::LossResult loss = model.loss(hidden, batch.targets);
    torch::autograd::backward({loss.mean}, {});
    shown.store("act/", results);
    store_losses("act/", model, hidden, loss, layout, T, results);
    results["act/objective"] = loss.mean.detach();
    for (const auto& [name, value] : NamedTensors(results))
      if (name.starts_with("act/commitment."))
        results["act/objective"] = results["act/objective"] + options.commitment_weight * value;
    for (const model::Weight& weight : model.weights())
      results["grad/" + weight.name] =
          weight.master.grad().defined() ? weight.master.grad() : at::zeros_like(weight.master);
    model.end_step(options);
    for (const model::Weight& weight : model.weights())
      if (!weight.rules.trained) results["after/" + weight.name] = weight.master.clone();
  }
  set_weights(model, golden, jitter);  // those that the step has moved
  {
    const at::NoGradGuard no_grad;
    Shown shown(model.config());
    model::ForwardOptions options;
    options.observe = shown.observer();
    const std::unique_ptr<model::Past> past = model.begin();
    const at::Tensor hidden = model.forward(batch.ids, *past, options);
    shown.store("eval/", results);
    store_losses("eval/", model, hidden, model.loss(hidden, batch.targets), layout, T, results);
  }
  for (auto& [name, value] : results) value = value.detach().to(at::kCPU);
  return results;
}

}  // namespace gca::golden
