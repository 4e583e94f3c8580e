#include "tests/golden_check/policy_case.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "lib/core/error.h"
#include "lib/model/kv_cache/citrus_reading.h"
#include "lib/model/kv_cache/make_kv_cache.h"
#include "lib/model/kv_cache/recycled_cache.h"
#include "lib/model/kv_cache/squeezed_cache.h"
#include "lib/model/language_model.h"
#include "tests/golden_check/model_case.h"

namespace gca::golden {
namespace {

using nlohmann::json;

json settings_of(const GoldenFile& golden) {
  return json::parse(golden.metadata.at("case"));
}

/// A model of a case and the text it reads.
class PolicyRun {
 public:
  PolicyRun(const std::string& path, const GoldenFile& golden, at::ScalarType dtype, uint64_t jitter)
      : golden_(golden),
        settings_(settings_of(golden)),
        model_(model::load_model(
            (std::filesystem::path(path).parent_path() / settings_.at("model").get<std::string>()).string(),
            dtype, at::kCPU, model::WeightDtype::compute, model::Masters::kept)),
        past_(model_.begin()) {
    if (jitter > 0) jitter_weights(model_, jitter);
    const at::Tensor tokens = golden.tensors.at("input/tokens").contiguous();
    text_.assign(tokens.const_data_ptr<int32_t>(), tokens.const_data_ptr<int32_t>() + tokens.numel());
    policy_.name = settings_.at("policy");
  }

  NamedTensors run() {
    if (policy_.name == "sink") return run_sink();
    if (policy_.name == "recycled") return run_recycled();
    if (policy_.name == "squeezed") return run_squeezed();
    if (policy_.name == "citrus") return run_citrus();
    fail_usage("golden case", "is of the unknown policy " + policy_.name);
  }

 private:
  int64_t size(const char* key) const { return settings_.at(key); }
  size_t layers() const { return static_cast<size_t>(model_.config().n_lower_layers); }

  template <class Cache>
  Cache& keep_in(std::unique_ptr<Cache> cache) {
    Cache& kept = *cache;
    past_->keep_keys_in(std::move(cache));
    return kept;
  }
  std::unique_ptr<model::KvCache> made() const { return model::make_kv_cache(model_.config(), policy_); }
  model::AttentionSettings attention() const {
    return model::AttentionSettings::of(model_.config(), at::kFloat);
  }

  /// The next `count` tokens of the text: logits (count, V).
  at::Tensor feed(int64_t count) {
    const std::vector<int64_t> ids(text_.begin() + fed_, text_.begin() + fed_ + count);
    fed_ += count;
    return model_.logits(model_.forward(at::tensor(ids, at::kLong).unsqueeze(0), *past_, {}))[0];
  }

  NamedTensors run_sink() {
    policy_.sinks = size("sinks");
    policy_.window = size("window");
    keep_in(made());
    return {{"logits", feed(size("tokens"))}};
  }

  NamedTensors run_recycled() {
    policy_.recycled_rows = size("K");
    policy_.stride = size("stride");
    policy_.similarity = settings_.value("similarity", 1.0);
    policy_.pool = settings_.value("pool", 7);
    auto& cache = keep_in(std::make_unique<model::RecycledCache>(attention(), policy_));
    const at::Tensor prompt = feed(size("prompt"));
    std::vector<at::Tensor> logits = {prompt.narrow(0, prompt.size(0) - 1, 1)}, lists, full;
    cache.begin_part(model::TextPart::answer);
    const auto note = [&] {
      std::vector<at::Tensor> of_layers;
      for (size_t i = 0; i < layers(); ++i) {
        const at::Tensor& list = cache.list(i);
        const at::Tensor none = at::full({list.size(0), size("K") - list.size(1)}, -1, at::kInt);
        of_layers.push_back(at::cat({list, none}, 1));
      }
      lists.push_back(at::stack(of_layers));
    };
    note();
    for (int64_t i = 0; i < size("continuation"); ++i) {
      logits.push_back(feed(1));
      note();
      std::vector<int32_t> was_full;
      for (size_t layer = 0; layer < layers(); ++layer) was_full.push_back(cache.was_full(layer) ? 1 : 0);
      full.push_back(at::tensor(was_full, at::kInt));
    }
    return {{"logits", at::cat(logits)}, {"list", at::stack(lists)}, {"full", at::stack(full)}};
  }

  NamedTensors run_squeezed() {
    policy_.observed = size("observed");
    policy_.cluster_fraction = settings_.at("fraction");
    policy_.quantile = settings_.at("quantile");
    policy_.coarse_fraction = settings_.value("coarse_fraction", 0.0);
    policy_.coarse_quantile = settings_.value("coarse_quantile", 0.0);
    const auto draw = [&](size_t layer, int64_t head, int64_t count, bool coarse) {
      const std::string name = fmt::format("input/uniform{}.{}", coarse ? "_coarse" : "", layer);
      const at::Tensor numbers = golden_.tensors.at(name)[head].to(at::kDouble).contiguous();
      const auto* number = numbers.const_data_ptr<double>();
      return std::vector<double>(number, number + count);
    };
    auto& cache = keep_in(std::make_unique<model::SqueezedCache>(attention(), policy_, draw));
    cache.begin_part(model::TextPart::prefix);
    feed(size("prefix"));
    cache.begin_part(model::TextPart::prompt);
    NamedTensors results;
    std::vector<at::Tensor> logits;
    std::vector<std::vector<at::Tensor>> kept(layers());
    const auto feed_block = [&](int64_t count) {
      logits.push_back(feed(count));
      for (size_t i = 0; i < layers(); ++i) kept[i].push_back(cache.kept(i).to(at::kInt));
    };
    feed_block(size("input"));
    cache.begin_part(model::TextPart::answer);
    for (int64_t i = 0; i < size("answer"); ++i) feed_block(1);
    results["logits"] = at::cat(logits);
    results["threshold"] = at::full({}, cache.threshold(), at::kDouble);
    results["coarse_threshold"] = at::full({}, cache.coarse_threshold(), at::kDouble);
    for (size_t i = 0; i < layers(); ++i) {
      const std::string layer = std::to_string(i);
      results["kept." + layer] = at::stack(kept[i]);
      const auto note_clusters = [&](const std::string& prefix, const model::KeyClusters& clusters) {
        results[prefix + "labels." + layer] = clusters.labels;
        results[prefix + "centroids." + layer] = clusters.centroids;
        results[prefix + "sizes." + layer] = clusters.sizes;
      };
      note_clusters("", cache.fine(i));
      note_clusters("coarse_", cache.coarse(i));
    }
    return results;
  }

  NamedTensors run_citrus() {
    policy_.citrus_mode = settings_.at("mode");
    policy_.chunk = size("chunk");
    policy_.kept = size("k");
    auto& cache = keep_in(std::make_unique<model::CitrusCache>(attention(), policy_));
    const std::span<const int32_t> text(text_);
    const auto context = static_cast<size_t>(size("context"));
    const model::CitrusReading reading(model_, *past_, cache,
                                       text.subspan(context, static_cast<size_t>(size("instruction"))));
    NamedTensors results;
    const auto note = [&](const std::string& name) {
      std::vector<at::Tensor> rows;
      size_t width = 0;
      for (size_t i = 0; i < layers(); ++i) width = std::max(width, cache.tokens(i).size());
      for (size_t i = 0; i < layers(); ++i) {
        std::vector<int64_t> tokens = cache.tokens(i);
        tokens.resize(width, -1);
        rows.push_back(at::tensor(tokens, at::kLong).to(at::kInt));
      }
      results[name] = at::stack(rows);
    };
    reading.read_context(text.first(context));
    note("before");
    reading.choose();
    note("after");
    std::vector<at::Tensor> logits = {model_.logits(reading.read_instruction())[0]};
    fed_ = size("context") + size("instruction");
    for (int64_t i = 0; i < size("answer"); ++i) logits.push_back(feed(1));
    results["logits"] = at::cat(logits);
    return results;
  }

  const GoldenFile& golden_;
  json settings_;
  model::LanguageModel model_;
  std::unique_ptr<model::Past> past_;
  std::vector<int32_t> text_;
  int64_t fed_ = 0;
  model::KvPolicy policy_;
};

/// Attention of a whole text with fewer key/value heads, forward and backward: every scheme that spreads it over
/// several processes must give the same.
NamedTensors run_ring(const GoldenFile& golden, at::ScalarType dtype) {
  const auto in = [&](const char* name) { return golden.tensors.at(name).to(dtype).unsqueeze(0); };
  at::Tensor q = in("q").requires_grad_(), k = in("k").requires_grad_(), v = in("v").requires_grad_();
  const at::Tensor slopes = at::full({q.size(2)}, 0.0, at::kFloat);
  const int64_t window = q.size(1);
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  const at::Tensor out = kernels::sliding_window_attention(q, k, v, slopes, window, scale);
  torch::autograd::backward({out}, {in("dout")});
  const at::NoGradGuard no_grad;
  const auto [same, lse] = kernels::sliding_window_attention_forward(q, k, v, slopes, window, scale);
  return {{"out", out[0].detach()},
          {"lse", lse[0].t()},
          {"dq", q.grad()[0]},
          {"dk", k.grad()[0]},
          {"dv", v.grad()[0]}};
}

}  // namespace

bool is_policy_case(const GoldenFile& golden) {
  return golden.metadata.contains("case");
}

double largest_attention_score(const GoldenFile& golden) {
  if (!golden.tensors.contains("q")) return 0.0;
  const at::Tensor q = golden.tensors.at("q").to(at::kDouble).transpose(0, 1);  // (H, L, dh)
  const at::Tensor k = golden.tensors.at("k").to(at::kDouble).transpose(0, 1);
  const at::Tensor score = at::matmul(q, k.repeat_interleave(q.size(0) / k.size(0), 0).transpose(1, 2));
  return score.abs().max().item<double>() / std::sqrt(static_cast<double>(q.size(2)));
}

NamedTensors run_policy_case(const std::string& path, const GoldenFile& golden, at::ScalarType dtype,
                             uint64_t jitter) {
  if (settings_of(golden).at("policy") == "ring") return run_ring(golden, dtype);
  const at::NoGradGuard no_grad;
  return PolicyRun(path, golden, dtype, jitter).run();
}

}  // namespace gca::golden
