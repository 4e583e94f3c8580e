// Cache policies of full attention: where a policy leaves nothing out it is full attention, calls may cut a text
// anywhere, a cache that was saved or cloned goes on alike, and what is read is what the policy promises. Choices
// and numbers against an independent program: gca_golden_check on tests/golden/cache.

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>

#include <array>
#include <map>
#include <string>

#include "lib/core/error.h"
#include "lib/model/kv_cache/citrus_cache.h"
#include "lib/model/kv_cache/citrus_reading.h"
#include "lib/model/kv_cache/kv_session.h"
#include "lib/model/kv_cache/make_kv_cache.h"
#include "lib/model/kv_cache/recycled_cache.h"
#include "lib/model/kv_cache/squeezed_cache.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kPrefix = 60;   // of squeezed
constexpr int64_t kPrompt = 75;   // prefix and input
constexpr int64_t kLength = 100;  // and answer
constexpr std::array kDtypes = {model::KvDtype::compute, model::KvDtype::int8};

model::ModelConfig full_config(const std::string& position = "rope") {
  model::ModelConfig config = tiny_config();
  config.self_attention = "full";
  config.long_range = "none";
  config.position = position;
  config.tied_output = false;
  config.attention_bias = config.mlp_bias = true;
  return config;
}

model::KvPolicy policy_of(const std::string& name, model::KvDtype dtype = model::KvDtype::compute) {
  model::KvPolicy policy;
  policy.name = name;
  policy.dtype = dtype;
  policy.window = 12;
  policy.sinks = 3;
  policy.cluster_fraction = 0.2;
  policy.quantile = 0.6;
  policy.observed = 10;
  policy.recycled_rows = 9;
  policy.stride = 4;
  policy.chunk = 16;
  policy.kept = 20;
  return policy;
}

std::vector<model::KvPolicy> all_policies() {
  std::vector<model::KvPolicy> policies;
  for (const std::string& name : model::kv_policy_names())
    for (const model::KvDtype dtype : kDtypes) policies.push_back(policy_of(name, dtype));
  return policies;
}

/// Runs a text by a policy: the prompt in calls of the given lengths, then token by token.
class Run {
 public:
  Run(const model::LanguageModel& model, const model::KvPolicy& policy)
      : model_(model), policy_(policy), past_(model::begin_with_policy(model, policy)) {}

  /// Logits (kLength - first, V) from the last token of the prompt on.
  at::Tensor logits(const std::vector<int64_t>& cuts) {
    std::vector<at::Tensor> rows = {read_prompt(cuts)};
    for (int64_t i = kPrompt; i < kLength; ++i) rows.push_back(feed(1));
    return at::cat(rows);
  }

  /// After the last token of the prompt, (1, V).
  at::Tensor read_prompt(const std::vector<int64_t>& cuts) {
    model::KvCache& cache = *past_->kv_cache();
    if (auto* citrus = dynamic_cast<model::CitrusCache*>(&cache)) {
      const std::span<const int32_t> text(text_);
      const model::CitrusReading reading(model_, *past_, *citrus, text.subspan(kPrefix, kPrompt - kPrefix));
      reading.read_context(text.first(kPrefix));
      reading.choose();
      fed_ = kPrompt;
      return model_.logits(reading.read_instruction())[0];
    }
    at::Tensor last;
    if (policy_.name == "squeezed") {
      cache.begin_part(model::TextPart::prefix);
      for (const int64_t count : cuts)
        if (fed_ < kPrefix) feed(std::min(count, kPrefix - fed_));
      feed_to(kPrefix);
      cache.begin_part(model::TextPart::prompt);
      // A quantile of 0 would still leave out the least wanted key.
      if (policy_.quantile == 0) dynamic_cast<model::SqueezedCache&>(cache).set_threshold(0);
      last = feed(kPrompt - kPrefix);  // one block makes one choice
    } else {
      for (const int64_t count : cuts) last = feed(std::min(count, kPrompt - fed_));
      if (fed_ < kPrompt) last = feed(kPrompt - fed_);
    }
    cache.begin_part(model::TextPart::answer);
    return last.narrow(0, last.size(0) - 1, 1);
  }

  at::Tensor feed(int64_t count) {
    const at::NoGradGuard no_grad;
    const std::vector<int64_t> ids(text_.begin() + fed_, text_.begin() + fed_ + count);
    fed_ += count;
    return model_.logits(model_.forward(at::tensor(ids, at::kLong).unsqueeze(0), *past_, {}))[0];
  }

  model::KvCache& cache() { return *past_->kv_cache(); }
  model::Past& past() { return *past_; }
  void go_on_from(std::unique_ptr<model::Past> past) { past_ = std::move(past); }
  void rewind(int64_t count) { fed_ -= count; }

 private:
  void feed_to(int64_t end) {
    if (fed_ < end) feed(end - fed_);
  }

  const model::LanguageModel& model_;
  model::KvPolicy policy_;
  std::unique_ptr<model::Past> past_;
  std::vector<int32_t> text_ = some_text(kLength, 40);
  int64_t fed_ = 0;
};

const std::vector<int64_t> kWhole = {kPrompt};

/// The same text under two arrangements that should not matter differs by rounding; in int8 an element may then be
/// a step away, but all together no further than rounding every element moved them.
double bound_of(const model::LanguageModel& model, model::KvDtype dtype) {
  if (dtype == model::KvDtype::compute) return 1e-4;
  return largest_difference(Run(model, policy_of("full", dtype)).logits(kWhole),
                            Run(model, policy_of("full")).logits(kWhole));
}

}  // namespace

TEST_CASE("cache policies: one that leaves nothing out is full attention") {
  for (const char* position : {"rope", "alibi"}) {
    const model::LanguageModel model = tiny_model(full_config(position));
    for (const model::KvDtype dtype : kDtypes) {
      const at::Tensor full = Run(model, policy_of("full", dtype)).logits(kWhole);
      std::map<std::string, model::KvPolicy> all;
      (all["window"] = policy_of("window", dtype)).window = kLength;
      (all["sink"] = policy_of("sink", dtype)).window = kLength;
      (all["sinks alone"] = policy_of("sink", dtype)).sinks = kLength;
      (all["squeezed"] = policy_of("squeezed", dtype)).quantile = 0;
      (all["recycled, stride 1"] = policy_of("recycled", dtype)).stride = 1;
      all["recycled, stride 1"].similarity = 1;
      (all["recycled, long list"] = policy_of("recycled", dtype)).recycled_rows = kLength;
      for (const char* mode : {"single", "dual", "standard"}) {
        model::KvPolicy& citrus = all[std::string("citrus, ") + mode] = policy_of("citrus", dtype);
        citrus.citrus_mode = mode;
        citrus.kept = kLength;
      }
      const double bound = bound_of(model, dtype);
      for (const auto& entry : all) {
        const std::string name = entry.first + ", " + position;
        CAPTURE(name);
        CAPTURE(dtype == model::KvDtype::int8);
        Run run(model, entry.second);
        CHECK(largest_difference(run.logits(kWhole), full) <= bound);
      }
    }
  }
}

TEST_CASE("cache policies: int8 keys and values change logits a little, and halve the least of bf16") {
  const model::LanguageModel model = tiny_model(full_config());
  for (const std::string& name : model::kv_policy_names()) {
    CAPTURE(name);
    Run exact(model, policy_of(name)), rounded(model, policy_of(name, model::KvDtype::int8));
    const at::Tensor truth = exact.read_prompt(kWhole);
    const double difference = largest_difference(rounded.read_prompt(kWhole), truth);
    CHECK(difference > 0);
    // Where a policy chooses by scores, rounding may turn a choice.
    const bool chooses = name == "squeezed" || name == "recycled" || name == "citrus";
    if (!chooses) CHECK(difference <= 0.05 * truth.abs().max().item<double>());
    // Rows of 8 elements: one byte each and a scale of four, against four bytes each; of citrus the keys are kept
    // as computed, too.
    if (name != "citrus")
      CHECK(rounded.cache().size_bytes() < 0.6 * static_cast<double>(exact.cache().size_bytes()));
  }
}

TEST_CASE("cache policies: every policy leaves something out where it may") {
  const model::LanguageModel model = tiny_model(full_config());
  const at::Tensor full = Run(model, policy_of("full")).logits(kWhole);
  for (const std::string& name : model::kv_policy_names()) {
    if (name == "full") continue;
    CAPTURE(name);
    CHECK(largest_difference(Run(model, policy_of(name)).logits(kWhole), full) > 1e-2);
  }
}

TEST_CASE("cache policies: a prompt may come in calls of any length") {
  const model::LanguageModel model = tiny_model(full_config());
  for (const model::KvDtype dtype : kDtypes) {
    const double bound = bound_of(model, dtype);
    for (const std::string& name : model::kv_policy_names()) {
      CAPTURE(name);
      CAPTURE(dtype == model::KvDtype::int8);
      const at::Tensor whole = Run(model, policy_of(name, dtype)).logits(kWhole);
      for (const std::vector<int64_t>& cuts :
           {std::vector<int64_t>{1, 40, 1, 1, 20}, {13, 29, 6, 27}, std::vector<int64_t>(kPrompt, 1)})
        CHECK(largest_difference(Run(model, policy_of(name, dtype)).logits(cuts), whole) <= bound);
    }
  }
}

TEST_CASE("cache policies: a past that was saved and loaded, or cloned, goes on with the same bits") {
  const model::LanguageModel model = tiny_model(full_config());
  for (const model::KvPolicy& policy : all_policies()) {
    CAPTURE(model::kv_policy_to_json(policy).dump());
    Run run(model, policy);
    run.read_prompt(kWhole);
    for (int i = 0; i < 6; ++i) run.feed(1);
    std::unique_ptr<model::Past> cloned = run.past().clone();
    std::map<std::string, at::Tensor> saved;
    cloned->visit([&](const std::string& key, at::Tensor& tensor) {
      CHECK(saved.count(key) == 0);
      saved[key] = tensor.defined() ? tensor.clone() : tensor;
    });
    std::unique_ptr<model::Past> loaded = model::begin_with_policy(model, policy, cloned->position());
    loaded->visit([&](const std::string& key, at::Tensor& tensor) { tensor = saved.at(key); });
    CHECK(loaded->position() == kPrompt + 6);
    std::vector<at::Tensor> expected;
    for (int i = 0; i < 9; ++i) expected.push_back(run.feed(1));
    for (std::unique_ptr<model::Past>* other : {&cloned, &loaded}) {
      run.go_on_from(std::move(*other));
      run.rewind(9);
      for (const at::Tensor& one : expected) CHECK(at::equal(run.feed(1), one));
    }
  }
}

TEST_CASE("cache policies: what a token reads is what the policy says") {
  const model::ModelConfig config = full_config();
  const model::LanguageModel model = tiny_model(config);
  const auto layers = static_cast<double>(config.n_lower_layers + config.n_upper_layers);
  const auto row_bytes = 2.0 * static_cast<double>(config.head_dim() * 4);  // a key and a value, float32
  const double heads = static_cast<double>(config.n_kv_heads);
  const auto bytes_of = [&](const model::KvPolicy& policy, auto look) {
    Run run(model, policy);
    run.read_prompt(kWhole);
    run.cache().reset_reads();
    run.feed(1);
    look(run.cache());
    return run.cache().reads().bytes;
  };
  const auto nothing = [](model::KvCache&) {};
  const double T = kPrompt + 1;
  CHECK(bytes_of(policy_of("full"), nothing) == layers * heads * row_bytes * T);
  CHECK(bytes_of(policy_of("full", model::KvDtype::int8), nothing) ==
        layers * heads * 2 * static_cast<double>(config.head_dim() + 4) * T);
  CHECK(bytes_of(policy_of("window"), nothing) == layers * heads * row_bytes * 12);
  CHECK(bytes_of(policy_of("sink"), nothing) == layers * heads * row_bytes * (12 + 3));
  CHECK(bytes_of(policy_of("recycled"), nothing) == layers * heads * row_bytes * (9 + 1));
  CHECK(bytes_of(policy_of("citrus"), nothing) ==
        layers * heads * row_bytes * (20 + (kPrompt - kPrefix) + 1));
  double kept = 0;
  const double squeezed = bytes_of(policy_of("squeezed"), [&](model::KvCache& cache) {
    for (size_t i = 0; i < static_cast<size_t>(layers); ++i)
      kept += dynamic_cast<model::SqueezedCache&>(cache).kept(i).sum().item<double>();
  });
  const double clustered = kPrefix - 10, clusters = 10;  // a fifth
  CHECK(squeezed == row_bytes * (kept + layers * heads * (T - clustered)) +
                        layers * heads * clusters * static_cast<double>(config.head_dim() * 4));
}

TEST_CASE("recycled: steps that read all, and lists that hold the newest tokens in the end") {
  const model::LanguageModel model = tiny_model(full_config());
  model::KvPolicy policy = policy_of("recycled");
  policy.similarity = 1;
  Run run(model, policy);
  run.read_prompt(kWhole);
  auto& cache = dynamic_cast<model::RecycledCache&>(run.cache());
  for (int64_t step = 1; step <= 12; ++step) {
    run.feed(1);
    CHECK(cache.was_full(0) == (step % 4 == 0));
  }
  policy.similarity = -1.5;  // never again
  Run never(model, policy);
  never.read_prompt(kWhole);
  for (int64_t step = 1; step <= 12; ++step) never.feed(1);
  auto& short_lists = dynamic_cast<model::RecycledCache&>(never.cache());
  CHECK(short_lists.full_steps() == 0);
  const at::Tensor list = short_lists.list(1);
  for (int64_t j = 0; j < 9; ++j) CHECK(list[0][j].item<int32_t>() == kPrompt + 12 - 9 + j);
}

TEST_CASE("squeezed: the first tokens are read whatever the clusters they are in") {
  const model::LanguageModel model = tiny_model(full_config());
  for (const int64_t sinks : {0, 7}) {
    model::KvPolicy policy = policy_of("squeezed");
    policy.squeezed_sinks = sinks;
    policy.quantile = 1;  // no cluster is above
    policy.coarse_fraction = 0.1;
    Run run(model, policy);
    run.read_prompt(kWhole);
    auto& cache = dynamic_cast<model::SqueezedCache&>(run.cache());
    const int64_t clustered = kPrefix - policy.observed;
    cache.set_threshold(1);  // queries of the input are others than those that set it
    run.feed(1);
    for (size_t layer = 0; layer < 5; ++layer)
      CHECK(at::equal(cache.kept(layer), at::arange(clustered).lt(sinks).expand({2, clustered})));
  }
}

TEST_CASE("cache policies: settings that cannot be are told") {
  const auto problem = [](auto change) {
    model::KvPolicy policy;
    change(policy);
    CHECK_THROWS_AS(policy.validate("--kv-policy"), Error);
  };
  problem([](model::KvPolicy& policy) { policy.name = "fast"; });
  problem([](model::KvPolicy& policy) { policy.window = 0; });
  problem([](model::KvPolicy& policy) { policy.quantile = 1.5; });
  problem([](model::KvPolicy& policy) { policy.pool = 4; });
  problem([](model::KvPolicy& policy) { policy.citrus_mode = "triple"; });
  CHECK_THROWS_WITH_AS(model::begin_with_policy(tiny_model(tiny_config()), policy_of("sink")),
                       doctest::Contains("self_attention full"), Error);
}
