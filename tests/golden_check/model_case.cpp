#include "tests/golden_check/model_case.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/tril.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/common/philox.h"
#include "lib/core/error.h"
#include "lib/data/chunk_layout.h"
#include "lib/model/language_model.h"

namespace gca::golden {
namespace {

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

void jitter_weight(const at::Tensor& weight, uint64_t seed) {
  auto* data = weight.mutable_data_ptr<float>();
  for (int64_t i = 0; i < weight.numel(); ++i) {
    const PhiloxBlock block = philox_block(seed, RandomStream::task, 0, static_cast<uint64_t>(i));
    data[i] *= 1.0F + (2.0F * open_unit_float(block.word[0]) - 1.0F) / 1024.0F;
  }
}

/// idx (B, C, K) sorted by chunk number in each row, absent slots last, and the order that does it.
std::pair<at::Tensor, at::Tensor> by_chunk_number(const at::Tensor& idx) {
  const at::Tensor key = at::where(idx.lt(0), at::full_like(idx, std::numeric_limits<int32_t>::max()), idx);
  const at::Tensor order = std::get<1>(at::sort(key, /*stable=*/true, -1, /*descending=*/false));
  return {idx.gather(-1, order), order};
}

/// Scores of candidates c < t, 0 elsewhere.
at::Tensor causal_scores(const at::Tensor& r) {
  return at::tril(r, -1);
}

class Recorder {
 public:
  Recorder(std::string prefix, bool keep_gradients)
      : prefix_(std::move(prefix)), keep_gradients_(keep_gradients) {}

  void operator()(const std::string& name, const at::Tensor& value) {
    if (keep_gradients_ && value.requires_grad() && !value.is_leaf()) value.retain_grad();
    tensors[name] = value;
  }

  void store(NamedTensors& results) const {
    for (const auto& [name, value] : tensors) {
      const at::Tensor plain = value.detach();
      if (starts_with(name, "r.")) {
        results[prefix_ + name] = causal_scores(plain);
      } else if (starts_with(name, "idx.")) {
        auto [sorted, order] = by_chunk_number(plain);
        results[prefix_ + name] = sorted;
        const std::string weights = "w." + name.substr(4);
        results[prefix_ + weights] = tensors.at(weights).detach().gather(-1, order);
        if (tensors.at(weights).grad().defined())
          results["act_grad/" + weights] = tensors.at(weights).grad().gather(-1, order);
      } else if (!starts_with(name, "w.")) {
        results[prefix_ + name] = plain;
      }
      if (keep_gradients_ && value.grad().defined() && !starts_with(name, "w."))
        results["act_grad/" + name] = value.grad();
    }
  }

  NamedTensors tensors;

 private:
  std::string prefix_;
  bool keep_gradients_;
};

}  // namespace

void store_losses(const std::string& prefix, const model::LanguageModel& model, const at::Tensor& hidden,
                  const model::LossResult& loss, const data::ChunkLayout& layout, int64_t T,
                  NamedTensors& results) {
  std::vector<int64_t> predicting;
  for (int64_t j = 0; j + 1 < T; ++j) predicting.push_back(layout.position_of(j));
  results[prefix + "token_loss"] =
      loss.per_target.index_select(1, at::tensor(predicting, at::kLong).to(hidden.device()));
  results[prefix + "loss"] = loss.mean.detach();
  const at::NoGradGuard no_grad;
  results[prefix + "logits"] = model.logits(hidden);
}

model::ModelConfig model_config_of(const GoldenFile& golden) {
  const auto entry = golden.metadata.find("config");
  if (entry == golden.metadata.end()) fail_usage("golden model case", "has no metadata entry config");
  const nlohmann::json json = nlohmann::json::parse(entry->second);
  model::ModelConfig config;
  config.vocab_size = json.at("vocab");
  config.landmark_id = json.at("lmk_id");
  config.d_model = json.at("d");
  config.n_heads = json.at("H");
  config.n_kv_heads = json.at("H_kv");
  config.d_ff = json.at("d_ff");
  config.n_lower_layers = json.at("n_lower");
  config.upper_group_layers = json.at("n_upper").get<std::vector<int64_t>>();
  config.retrieval_groups = static_cast<int64_t>(config.upper_group_layers.size());
  config.n_upper_layers = 0;
  for (const int64_t layers : config.upper_group_layers) config.n_upper_layers += layers;
  config.n_encoder_layers = json.at("n_enc");
  config.window_size = json.at("W");
  config.chunk_size = json.at("S");
  config.chunk_top_k = json.at("K");
  config.softmax_off_by_one = json.at("softmax_one");
  config.residual_blend = json.value("reset_residual", false) ? 1.0 : 0.0;
  config.norm_eps = json.at("norm_eps");
  config.encoder_norm_eps = json.at("enc_norm_eps");
  config.rope_theta = json.at("rope_theta");
  return config;
}

void jitter_weights(model::LanguageModel& model, uint64_t jitter) {
  const at::NoGradGuard no_grad;
  for (model::Weight& weight : model.weights()) jitter_weight(weight.master, jitter);
  model.refresh_compute_weights();
}

void set_weights(model::LanguageModel& model, const GoldenFile& golden, uint64_t jitter) {
  const at::NoGradGuard no_grad;
  for (model::Weight& weight : model.weights()) {
    const auto entry = golden.tensors.find("weight/" + weight.name);
    if (entry == golden.tensors.end()) fail_usage("golden model case", "has no weight " + weight.name);
    const at::Tensor values = entry->second.to(weight.master.scalar_type()).clone();
    if (jitter > 0) jitter_weight(values, jitter);
    weight.master.copy_(values);
  }
  model.refresh_compute_weights();
}

CaseBatch batch_of(const GoldenFile& golden, const data::ChunkLayout& layout) {
  const at::Tensor tokens = golden.tensors.at("input/tokens").contiguous();  // (B, T)
  const int64_t B = tokens.size(0);
  const int64_t T = tokens.size(1);
  std::vector<int64_t> ids;
  std::vector<int64_t> targets;
  for (int64_t b = 0; b < B; ++b) {
    const data::LaidOutText row = data::lay_out(
        {tokens.const_data_ptr<int32_t>() + b * T, static_cast<size_t>(T)}, data::kNoTarget, layout);
    ids.insert(ids.end(), row.ids.begin(), row.ids.end());
    targets.insert(targets.end(), row.targets.begin(), row.targets.end());
  }
  return {at::tensor(ids, at::kLong).view({B, -1}), at::tensor(targets, at::kLong).view({B, -1})};
}

NamedTensors run_model_case(const GoldenFile& golden, at::ScalarType dtype, uint64_t jitter,
                            at::Device device) {
  model::LanguageModel model(model_config_of(golden), dtype, device);
  set_weights(model, golden, jitter);
  const int64_t T = golden.tensors.at("input/tokens").size(1);
  const data::ChunkLayout layout{.chunk_size = model.config().chunk_size,
                                 .landmark_id = model.config().landmark_id};
  const CaseBatch batch = batch_of(golden, layout);

  NamedTensors results;
  {
    Recorder recorder("act/", true);
    model::ForwardOptions options;
    options.gumbel = golden.tensors.at("input/gumbel").to(device, model.weights()[0].master.scalar_type());
    options.observe = [&](const std::string& name, const at::Tensor& value) { recorder(name, value); };
    const std::unique_ptr<model::Past> past = model.begin();
    const at::Tensor hidden = model.forward(batch.ids, *past, options);
    const model::LossResult loss = model.loss(hidden, batch.targets);
    torch::autograd::backward({loss.mean}, {});
    recorder.store(results);
    store_losses("act/", model, hidden, loss, layout, T, results);
    for (const model::Weight& weight : model.weights())
      results["grad/" + weight.name] =
          weight.master.grad().defined() ? weight.master.grad() : at::zeros_like(weight.master);
  }
  {
    const at::NoGradGuard no_grad;
    Recorder recorder("eval/", false);
    model::ForwardOptions options;
    options.observe = [&](const std::string& name, const at::Tensor& value) { recorder(name, value); };
    const std::unique_ptr<model::Past> past = model.begin();
    const at::Tensor hidden = model.forward(batch.ids, *past, options);
    recorder.store(results);
    store_losses("eval/", model, hidden, model.loss(hidden, batch.targets), layout, T, results);
  }
  for (auto& [name, value] : results) value = value.detach().to(at::kCPU);
  return results;
}

at::Tensor canonical(const GoldenFile& golden, const std::string& name) {
  const at::Tensor& value = golden.tensors.at(name);
  const size_t slash = name.find('/');
  const std::string quantity = name.substr(slash + 1);
  if (starts_with(quantity, "r.")) return causal_scores(value);
  if (starts_with(quantity, "idx.")) return by_chunk_number(value).first;
  if (starts_with(quantity, "w.")) {
    const std::string run = starts_with(name, "eval/") ? "eval/" : "act/";
    return value.gather(-1, by_chunk_number(golden.tensors.at(run + "idx." + quantity.substr(2))).second);
  }
  return value;
}

}  // namespace gca::golden
