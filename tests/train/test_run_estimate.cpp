#include "lib/train/step/run_estimate.h"

#include "tests/support/doctest.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "lib/core/machine/machine_memory.h"
#include "lib/model/model_cost.h"
#include "lib/model/presets.h"
#include "lib/train/settings/run_config.h"
#include "lib/train/step/allocation_watch.h"
#include "tests/support/as_ranks.h"
#include "tests/support/error_of.h"
#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

TEST_CASE("The parameters told from a configuration are those of the model") {
  std::vector<model::ModelConfig> configs;
  for (const char* preset : {"nano", "mini", "small"}) {
    train::RunConfig config;
    config.read(preset);
    config.model.vocab_size = 301;
    configs.push_back(config.model);
    configs.push_back(config.model);
    configs.back().long_range = "none";
    configs.push_back(config.model);
    configs.back().n_kv_heads = 1;
    configs.back().n_encoder_layers = 0;
    configs.back().d_ff = 100;
    configs.back().retrieval_groups = config.model.n_upper_layers;
  }
  for (const model::ModelConfig& config : configs)
    CHECK(model::parameter_count(config) ==
          static_cast<double>(model::LanguageModel(config, at::kFloat).parameter_count()));
}

TEST_CASE("A probe of a step leaves the weights as they are and no gradient") {
  model::LanguageModel model = tiny_model(tiny_config(), at::kFloat);
  const auto before = copies_of_masters(model);
  train::TrainConfig config = tiny_train_config();
  config.context = 512;
  const train::StepProbe probe = train::probe_step(model, config, 0.05);
  CHECK(largest_change(model, before) == 0.0);
  for (const model::Weight& weight : model.weights()) CHECK(!weight.master.grad().defined());
  // What backward needs: at least the layers' inputs.
  const model::ModelConfig& sizes = model.config();
  CHECK(probe.bytes_per_position >
        4.0 * static_cast<double>(sizes.d_model * (sizes.n_lower_layers + sizes.n_upper_layers)));
  CHECK(probe.seconds_per_flop > 0);
  CHECK(train::probe_step(model, config, 0).seconds_per_flop == 0);
}

TEST_CASE("Recomputing activations keeps less") {
  train::RunConfig config;
  config.read("mini");
  config.model.vocab_size = 300;
  model::LanguageModel model(config.model, at::kFloat);
  model.initialise(0);
  model.refresh_compute_weights();
  const double kept = train::probe_step(model, config.train, 0).bytes_per_position;
  config.train.recompute_activations = true;
  CHECK(train::probe_step(model, config.train, 0).bytes_per_position < 0.8 * kept);
}

TEST_CASE("A batch that memory cannot hold is refused, with one that it can") {
  model::LanguageModel model = tiny_model(tiny_config(), at::kFloat);
  train::TrainConfig config = tiny_train_config();
  config.context = 100;
  train::MemoryEstimate estimate;
  const train::StepProbe probe{.bytes_per_position = 1 << 20};
  const auto estimate_of = [&](int64_t batch) {
    config.batch = batch;
    estimate = train::estimate_memory(model, config, probe, 0);
    estimate.available_bytes = 4.0 * (1 << 30);
  };
  estimate_of(10);
  CHECK(!error_of([&] { train::require_memory_for_batch(estimate, config, "--batch"); }));
  estimate_of(1000);
  const auto error = error_of([&] { train::require_memory_for_batch(estimate, config, "--batch"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("--batch: a step with batch 1000 of 100 tokens takes about"));
  const size_t at = error->message.find("; a batch of ");
  REQUIRE(at != std::string::npos);
  const int64_t fitting = std::stoll(error->message.substr(at + 13));
  estimate_of(fitting);
  CHECK(estimate.total_bytes() <= estimate.available_bytes);
  estimate_of(fitting + 2);
  CHECK(estimate.total_bytes() > estimate.available_bytes);
}

namespace {

struct SharedText {
  int ranks;
  int64_t rows;
  at::ScalarType dtype;
  bool recomputes;
};

/// Sizes of which keys and values are a large part.
model::ModelConfig full_config() {
  model::ModelConfig config = tiny_config();
  config.self_attention = "full";
  config.long_range = "none";
  config.vocab_size = 16;
  config.d_model = 64;
  config.n_heads = 4;
  config.n_kv_heads = 4;
  config.d_ff = 64;
  return config;
}

/// Sizes of which the chunk memory is a large part.
model::ModelConfig chunks_config() {
  model::ModelConfig config = full_config();
  config.self_attention = "window";
  config.long_range = "gca";
  config.n_lower_layers = 1;
  config.n_upper_layers = 1;
  config.retrieval_groups = 1;
  config.n_encoder_layers = 0;
  config.d_ff = 16;
  return config;
}

/// The most that any rank's tensors take in a forward and backward pass, gradients of weights left out.
double measured_bytes(const model::ModelConfig& config, const SharedText& text, int64_t own_length) {
  std::vector<int64_t> bytes(static_cast<size_t>(text.ranks));
  as_ranks(text.ranks, [&](parallel::Communicator* communicator) {
    model::LanguageModel model = tiny_model(config, text.dtype);
    for (model::Weight& weight : model.weights())
      weight.master.mutable_grad() = at::zeros_like(weight.master);
    const at::Tensor ids =
        at::arange(text.rows * own_length, at::kLong).remainder(15).view({text.rows, own_length});
    model::ForwardOptions options;
    options.text_ranks = communicator;
    options.ring_scheme = parallel::RingScheme::gather;
    options.recompute_activations = text.recomputes;
    const auto watch = std::make_shared<train::AllocationWatch>();
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, watch);
    const std::unique_ptr<model::Past> past = model.begin();
    model.loss(model.forward(ids, *past, options), ids).mean.backward();
    bytes[static_cast<size_t>(communicator->rank())] = watch->peak_bytes();
  });
  return static_cast<double>(*std::max_element(bytes.begin(), bytes.end()));
}

}  // namespace

TEST_CASE("What ranks gather of a text is estimated as large as it is") {
  constexpr int64_t kOwnLength = 256;
  for (const model::ModelConfig& sizes : {full_config(), chunks_config()}) {
    const int factor = sizes.long_range == "gca" ? 3 : 1;  // a chunk is read by all layers: it weighs less
    for (const SharedText& few : {SharedText{2, 1, at::kFloat, false}, SharedText{4, 1, at::kFloat, false},
                                  SharedText{4, 2, at::kFloat, false}, SharedText{4, 1, at::kBFloat16, false},
                                  SharedText{4, 2, at::kBFloat16, false}, SharedText{4, 2, at::kFloat, true},
                                  SharedText{4, 2, at::kBFloat16, true}}) {
      SharedText text = few;
      text.ranks *= factor;
      CAPTURE(sizes.long_range);
      CAPTURE(text.ranks);
      CAPTURE(text.rows);
      CAPTURE(c10::toString(text.dtype));
      CAPTURE(text.recomputes);
      model::LanguageModel model = tiny_model(sizes, text.dtype);
      train::TrainConfig config = tiny_train_config();
      config.batch = text.rows;
      config.context = layout_of(sizes).text_before(kOwnLength);
      config.recompute_activations = text.recomputes;
      const train::StepProbe probe = train::probe_step(model, config, 0);
      double own = 0;
      double gathered = 0;
      for (const train::EstimatedPart& part :
           train::estimate_memory(model, config, probe, 0, text.ranks, text.ranks).parts) {
        if (part.name == "activations" || part.name == "workspace") own += part.size_bytes;
        if (part.name.starts_with("gathered")) gathered += part.size_bytes;
      }
      const double measured = measured_bytes(sizes, text, kOwnLength);
      CAPTURE(own);
      CAPTURE(gathered);
      CAPTURE(measured);
      CHECK(own < 0.8 * measured);
      CHECK(own + gathered > 0.95 * measured);
      CHECK(own + gathered < 1.25 * measured);
    }
  }
}

TEST_CASE("Weights that memory cannot hold are refused before anything is allocated") {
  train::RunConfig config;
  config.read("nano");
  config.model.vocab_size = 2000000000;
  config.model.d_model = 2000000000;
  const auto error = error_of([&] { train::require_memory_for_weights(config.model, "fp32", "--set"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("are free"));
}

TEST_CASE("Sizes of memory are told with three digits") {
  CHECK(memory_text(512) == "512 B");
  CHECK(memory_text(1536) == "1.50 KiB");
  CHECK(memory_text(12.34 * 1024 * 1024) == "12.3 MiB");
  CHECK(memory_text(999.0 * (1 << 30)) == "999 GiB");
  CHECK(memory_text(1e30).ends_with(" PiB"));
  CHECK(available_memory_bytes() > 0);
  CHECK(resident_memory_bytes() <= peak_memory_bytes());
}
