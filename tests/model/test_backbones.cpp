// What every kind of backbone must do, whatever it does besides: each test goes through the whole list.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "kernels/common/implementation.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/backbones/tensorized/strided_window.h"
#include "lib/model/model_cost.h"
#include "tests/model/causality.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

model::ModelConfig config_of(const model::BackboneKind& kind) {
  model::ModelConfig config = tiny_config();
  config.long_range = kind.name;
  config.self_attention = kind.self_attention;
  return config;
}

/// Calls test(config) for every kind of backbone.
template <class Test>
void for_each_kind(const Test& test) {
  REQUIRE(model::backbone_kinds().size() >= 2);
  for (const model::BackboneKind* kind : model::backbone_kinds()) {
    const std::string name = kind->name;
    CAPTURE(name);
    test(config_of(*kind));
  }
}

std::vector<int64_t> cut_every(int64_t length, int64_t step) {
  std::vector<int64_t> lengths;
  for (int64_t begin = 0; begin < length; begin += step) lengths.push_back(std::min(step, length - begin));
  return lengths;
}

double loss_of(const model::LanguageModel& model, const TextBatch& batch) {
  const at::NoGradGuard no_grad;
  const std::unique_ptr<model::Past> past = model.begin();
  return model.loss(model.forward(batch.ids, *past, {}), batch.targets).mean.item<double>();
}

/// A weight of `model`, in double.
at::Tensor weight_of(const model::LanguageModel& model, const std::string& name) {
  for (const model::Weight& weight : model.weights())
    if (weight.name == name) return weight.master.detach().to(at::kDouble);
  FAIL("no weight " << name);
  return {};
}

/// Gives every weight of `to` the values of the weight of `from` that has its name.
void copy_weights(const model::LanguageModel& from, model::LanguageModel& to) {
  const at::NoGradGuard no_grad;
  for (model::Weight& weight : to.weights()) weight.master.copy_(weight_of(from, weight.name));
  to.refresh_compute_weights();
}

}  // namespace

TEST_CASE("backbones: no logit depends on a later token, to the bit") {
  for_each_kind(
      [](const model::ModelConfig& config) { check_causality(config, 4 * config.chunk_text_size() + 2); });
}

TEST_CASE("backbones: gradients of every weight agree with finite differences") {
  for_each_kind([](model::ModelConfig config) {
    // All there is is read: the choice does not move with the weights, and kinds that train in another form
    // than they read texts in compute the same in both.
    config.chunk_top_k = 16;
    config.memory_top_k = 0;
    model::LanguageModel model = tiny_model(config, at::kDouble);
    const TextBatch batch = batch_of(some_text(4 * config.chunk_text_size(), config.vocab_size), config);
    // What passes through codes to the keys is no derivative, nor is it of what loss_of() computes.
    model::ForwardOptions options;
    options.codebook_straight_through = false;
    options.commitment_weight = 0;
    const std::unique_ptr<model::Past> past = model.begin();
    const model::LossResult loss = model.loss(model.forward(batch.ids, *past, options), batch.targets);
    torch::autograd::backward({loss.mean}, {});
    constexpr double kStep = 1e-5;
    for (model::Weight& weight : model.weights()) {
      CAPTURE(weight.name);
      if (!weight.rules.trained) continue;
      // Along a fixed direction, so that one difference sees every entry of the weight.
      const at::Tensor direction =
          at::cos(at::arange(weight.master.numel(), at::kDouble) * 1.7 + 0.3).view(weight.master.sizes());
      REQUIRE(weight.master.grad().defined());
      const double predicted = (weight.master.grad() * direction).sum().item<double>();
      const at::NoGradGuard no_grad;
      weight.master.add_(direction, kStep);
      const double above = loss_of(model, batch);
      weight.master.add_(direction, -2 * kStep);
      const double below = loss_of(model, batch);
      weight.master.add_(direction, kStep);
      const double measured = (above - below) / (2 * kStep);
      CHECK(std::abs(measured - predicted) <= 1e-6 * std::max(1.0, std::abs(predicted)));
    }
  });
}

TEST_CASE("backbones: segments of any length and single steps give the logits of one batch") {
  for_each_kind([](const model::ModelConfig& config) {
    const model::LanguageModel model = tiny_model(config);
    const TextBatch batch = batch_of(some_text(7 * config.chunk_text_size() + 3, config.vocab_size), config);
    const int64_t L = batch.ids.size(1);
    const at::Tensor whole = logits_in_segments(model, batch.ids, {L});
    for (const auto& lengths : {cut_every(L, 1), cut_every(L, 7), cut_every(L, 8), cut_every(L, 13),
                                std::vector<int64_t>{1, L - 2, 1}}) {
      CAPTURE(lengths.front());
      CHECK(largest_difference(logits_in_segments(model, batch.ids, lengths), whole) <= 1e-4);
    }
  });
}

TEST_CASE("backbones: a past that was saved and loaded, or cloned, goes on with the same bits") {
  for_each_kind([](const model::ModelConfig& config) {
    const model::LanguageModel model = tiny_model(config);
    const TextBatch batch = batch_of(some_text(9 * config.chunk_text_size(), config.vocab_size), config);
    const at::NoGradGuard no_grad;
    for (const int64_t seen : {int64_t{5}, 3 * config.chunk_size, 5 * config.chunk_size + 3}) {
      CAPTURE(seen);
      const std::unique_ptr<model::Past> past = model.begin();
      model.forward(batch.ids.narrow(1, 0, seen), *past, {});
      std::map<std::string, at::Tensor> saved;
      past->visit([&](const std::string& name, at::Tensor& tensor) {
        CHECK(saved.count(name) == 0);
        saved[name] = tensor.defined() ? tensor.clone() : tensor;
      });
      const std::unique_ptr<model::Past> loaded = model.begin(past->position());
      loaded->visit([&](const std::string& name, at::Tensor& tensor) { tensor = saved.at(name); });
      const std::unique_ptr<model::Past> cloned = past->clone();
      CHECK(loaded->position() == seen);
      int64_t begin = seen;
      for (const int64_t length : {1, 2, 1, 9, 1, 1, 1}) {
        const at::Tensor ids = batch.ids.narrow(1, begin, length);
        const at::Tensor expected = model.forward(ids, *past, {});
        CHECK(at::equal(model.forward(ids, *loaded, {}), expected));
        begin += length;
      }
      // What the others ran on with has not touched the clone.
      CHECK(cloned->position() == seen);
      const std::unique_ptr<model::Past> again = model.begin();
      model.forward(batch.ids.narrow(1, 0, seen), *again, {});
      const at::Tensor ids = batch.ids.narrow(1, seen, 11);
      CHECK(at::equal(model.forward(ids, *cloned, {}), model.forward(ids, *again, {})));
    }
  });
}

TEST_CASE("backbones: what a step may vary travels with the call, and the model stays as it is") {
  for_each_kind([](const model::ModelConfig& config) {
    if (config.self_attention == "full") return;  // has no window
    const model::LanguageModel model = tiny_model(config);
    model::ModelConfig other = model.config();
    other.window_size = 3;
    const model::LanguageModel made_so = tiny_model(other);
    const TextBatch batch = batch_of(some_text(40, config.vocab_size), config);
    model::ForwardOptions options;
    options.config = std::make_shared<const model::ModelConfig>(other);
    const at::Tensor own = logits_in_segments(model, batch.ids, {batch.ids.size(1)});
    const at::Tensor varied = logits_in_segments(model, batch.ids, {batch.ids.size(1)}, options);
    CHECK_FALSE(at::equal(varied, own));
    CHECK(at::equal(varied, logits_in_segments(made_so, batch.ids, {batch.ids.size(1)})));
    CHECK(at::equal(logits_in_segments(model, batch.ids, {batch.ids.size(1)}), own));
    const std::vector<int64_t> steps = cut_every(batch.ids.size(1), 1);
    CHECK(at::equal(logits_in_segments(model, batch.ids, steps, options),
                    logits_in_segments(made_so, batch.ids, steps)));
  });
}

TEST_CASE("backbones: all layers need begin no earlier than the reach says") {
  for_each_kind([](const model::ModelConfig& config) {
    const model::LanguageModel model = tiny_model(config);
    const model::Reach reach = model::reach_of(config);
    if (reach.upper == model::Reach::kWholeText) return;
    const int64_t S = config.chunk_size;
    const int64_t skipped = 3 * S;
    const int64_t first_wanted = skipped + (reach.upper + S - 1) / S * S;
    const int64_t L = first_wanted + 2 * S;
    const int64_t T = layout_of(config).text_before(L);
    const TextBatch batch = batch_of(some_text(T, config.vocab_size), config);
    REQUIRE(batch.ids.size(1) == L);
    const at::NoGradGuard no_grad;
    const at::Tensor whole = logits_in_segments(model, batch.ids, {L}).narrow(1, first_wanted, 2 * S);
    const std::unique_ptr<model::Past> past = model.begin();
    model::ForwardOptions memory_only;
    memory_only.memory_only = true;
    CHECK_FALSE(model.forward(batch.ids.narrow(1, 0, skipped), *past, memory_only).defined());
    const at::Tensor rest = model.logits(model.forward(batch.ids.narrow(1, skipped, L - skipped), *past, {}));
    CHECK(largest_difference(rest.narrow(1, first_wanted - skipped, 2 * S), whole) <= 1e-4);
  });
}

// ---- Each kind's degenerate case: settings for which something much simpler gives the same.

namespace {

at::Tensor plain_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt((x * x).mean(-1, true) + eps) * weight;
}

/// Element e of a row (L, dh) is turned with e + dh/2 by the angle position * theta^(-2e / dh).
at::Tensor plain_rotation(const at::Tensor& x, double theta) {
  const int64_t half = x.size(1) / 2;
  at::Tensor turned = at::empty_like(x);
  for (int64_t i = 0; i < x.size(0); ++i)
    for (int64_t e = 0; e < half; ++e) {
      const double angle =
          static_cast<double>(i) * std::pow(theta, -static_cast<double>(e) / static_cast<double>(half));
      const double a = x[i][e].item<double>();
      const double b = x[i][e + half].item<double>();
      turned[i][e] = a * std::cos(angle) - b * std::sin(angle);
      turned[i][e + half] = b * std::cos(angle) + a * std::sin(angle);
    }
  return turned;
}

/// Where a position stands, to full attention.
struct Positions {
  std::vector<double> slopes;  ///< ALiBi, one a head
  double rope_theta = 0;       ///< 0: no rotation
};

/// A layer of full causal attention, in double, one head at a time; h (L, d).
at::Tensor plain_layer(const model::LanguageModel& model, const std::string& name, const Positions& positions,
                       const at::Tensor& h) {
  const model::ModelConfig& config = model.config();
  const int64_t dh = config.head_dim();
  const at::Tensor x = plain_norm(h, weight_of(model, name + ".attn_norm"), config.norm_eps);
  const at::Tensor q = at::matmul(x, weight_of(model, name + ".attn.wq").t());
  const at::Tensor k = at::matmul(x, weight_of(model, name + ".attn.wk").t());
  const at::Tensor v = at::matmul(x, weight_of(model, name + ".attn.wv").t());
  const at::Tensor place = at::arange(h.size(0), at::kDouble);
  const at::Tensor distance = place.unsqueeze(1) - place.unsqueeze(0);  // (L, L)
  std::vector<at::Tensor> heads;
  for (int64_t head = 0; head < config.n_heads; ++head) {
    const auto part = [&](const at::Tensor& rows) { return rows.narrow(1, head * dh, dh); };
    const auto placed = [&](const at::Tensor& rows) {
      return positions.rope_theta > 0 ? plain_rotation(part(rows), positions.rope_theta) : part(rows);
    };
    at::Tensor scores = at::matmul(placed(q), placed(k).t()) / std::sqrt(static_cast<double>(dh));
    scores = scores - positions.slopes[static_cast<size_t>(head)] * distance;
    scores = scores.masked_fill(distance.lt(0), -std::numeric_limits<double>::infinity());
    heads.push_back(at::matmul(at::softmax(scores, -1), part(v)));
  }
  const at::Tensor a = h + at::matmul(at::cat(heads, 1), weight_of(model, name + ".attn.wo").t());
  const at::Tensor m = plain_norm(a, weight_of(model, name + ".mlp_norm"), config.norm_eps);
  const at::Tensor gate = at::matmul(m, weight_of(model, name + ".mlp.w_gate").t());
  const at::Tensor up = at::matmul(m, weight_of(model, name + ".mlp.w_up").t());
  return a + at::matmul(gate * at::sigmoid(gate) * up, weight_of(model, name + ".mlp.w_down").t());
}

/// With these settings upper layers are full attention with `upper` positions. Windows are made as long as
/// the text.
void check_full_attention(model::ModelConfig config, const Positions& upper) {
  config.window_size = 60;
  const model::LanguageModel model = tiny_model(config, at::kDouble);
  const TextBatch batch = batch_of(some_text(30, config.vocab_size), config);
  at::Tensor h = weight_of(model, "tok_emb").index_select(0, batch.ids.squeeze(0));
  for (int64_t i = 0; i < config.n_lower_layers; ++i)
    h = plain_layer(model, "lower." + std::to_string(i), {config.slopes()}, h);
  for (int64_t i = 0; i < config.n_upper_layers; ++i)
    h = plain_layer(model, "upper." + std::to_string(i), upper, h);
  h = plain_norm(h, weight_of(model, "out_norm"), config.norm_eps);
  const at::Tensor expected = at::matmul(h, weight_of(model, "tok_emb").t());
  CHECK(largest_difference(logits_in_segments(model, batch.ids, {30}).squeeze(0), expected) <= 1e-10);
  const std::unique_ptr<model::Past> past = model.begin();  // the form that trains
  CHECK(largest_difference(model.logits(model.forward(batch.ids, *past, {})).squeeze(0), expected) <= 1e-10);
}

/// A window as long as the text is full attention.
void check_window() {
  const model::ModelConfig config = config_of(model::WindowKind::kind);
  check_full_attention(config, {config.slopes()});
}

/// Folds that reach through the whole text in one hop are full attention; a single fold is a window; and of
/// equal scores every position within the product of the folds has the same weight.
void check_tensorized() {
  model::ModelConfig config = config_of(model::TensorizedKind::kind);
  config.upper_alibi_slopes = {0.5, 0.1, 0.02, 0.0};
  for (const std::vector<int64_t>& fold :
       {std::vector<int64_t>{30}, {0}, {30, 1}, {1, 30}, {1, 30, 1}, {1, 0}}) {
    CAPTURE(fold.size());
    config.tensor_fold = fold;
    check_full_attention(config, {config.upper_alibi_slopes});
  }

  config.upper_alibi_slopes.clear();
  config.tensor_fold = {config.window_size + 1};
  const model::LanguageModel model = tiny_model(config);
  model::ModelConfig window_config = config;
  window_config.long_range = model::WindowKind::kind.name;
  model::LanguageModel baseline(window_config, at::kFloat);
  copy_weights(model, baseline);
  const TextBatch batch = batch_of(some_text(60, config.vocab_size), config);
  CHECK(at::equal(logits_in_segments(model, batch.ids, {60}), logits_in_segments(baseline, batch.ids, {60})));

  const at::Tensor one_hot = at::eye(24, at::kDouble).view({1, 24, 1, 24});
  const at::Tensor equal = at::zeros({1, 24, 1, 24}, at::kDouble);
  const at::Tensor weights =
      model::tensorized_attention(equal, equal, one_hot, at::zeros({1}, at::kDouble), {3, 4}, 1.0)
          .view({24, 24});
  CHECK(largest_difference(weights[23], at::cat({at::zeros({12}), at::full({12}, 1.0 / 12)})) <= 1e-8);
  CHECK(largest_difference(weights.sum(1), at::ones({24})) <= 1e-12);
}

/// A block that is never closed is full attention with rotary positions, and without any where it has none.
void check_landmark() {
  model::ModelConfig config = config_of(model::LandmarkKind::kind);
  const std::vector<double> none(static_cast<size_t>(config.n_heads), 0.0);
  config.chunk_size = 64;
  config.landmark_local_size = 64;
  check_full_attention(config, {none, config.rope_theta});
  config.landmark_positions = "none";
  check_full_attention(config, {none});
}

/// Where all upper layers read a memory, whole, they are full attention without positions.
void check_fot() {
  model::ModelConfig config = config_of(model::FotKind::kind);
  config.memory_layers = {0, 1, 2};
  config.memory_top_k = 0;
  config.local_context_size = 6;  // d of ForwardOptions is more than the 5 contexts of the text
  check_full_attention(config, {std::vector<double>(static_cast<size_t>(config.n_heads), 0.0)});
}

/// Without memory, segments are texts of the baseline.
void check_rmt() {
  model::ModelConfig config = config_of(model::RmtKind::kind);
  config.memory_size = 0;
  const model::LanguageModel model = tiny_model(config);
  model::ModelConfig window_config = config;
  window_config.long_range = model::WindowKind::kind.name;
  model::LanguageModel baseline(window_config, at::kFloat);
  copy_weights(model, baseline);
  const TextBatch batch = batch_of(some_text(40, config.vocab_size), config);
  std::vector<at::Tensor> segments;
  for (const int64_t length : cut_every(40, config.segment_size)) {
    const int64_t begin = static_cast<int64_t>(segments.size()) * config.segment_size;
    segments.push_back(logits_in_segments(baseline, batch.ids.narrow(1, begin, length), {length}));
  }
  CHECK(largest_difference(logits_in_segments(model, batch.ids, {40}), at::cat(segments, 1)) <= 1e-5);
}

/// Without recurrent heads it is full attention, to the bit that of tensorized attention in one open hop. The state
/// of replaced heads does not grow.
void check_recurformer() {
  model::ModelConfig config = config_of(model::RecurformerKind::kind);
  config.recurrent_heads.clear();
  config.upper_alibi_slopes = {0.5, 0.1, 0.02, 0.0};
  check_full_attention(config, {config.upper_alibi_slopes});

  const model::LanguageModel model = tiny_model(config);
  model::ModelConfig open_config = config;
  open_config.long_range = model::TensorizedKind::kind.name;
  open_config.tensor_fold = {0};
  model::LanguageModel open_hop(open_config, at::kFloat);
  copy_weights(model, open_hop);
  const TextBatch batch = batch_of(some_text(60, config.vocab_size), config);
  CHECK(at::equal(logits_in_segments(model, batch.ids, {60}), logits_in_segments(open_hop, batch.ids, {60})));

  for (int64_t head = 0; head < config.n_upper_layers * config.n_heads; ++head)
    config.recurrent_heads.push_back(head);
  const model::LanguageModel recurrent = tiny_model(config);
  const at::NoGradGuard no_grad;
  const std::unique_ptr<model::Past> past = recurrent.begin();
  recurrent.forward(batch.ids.narrow(1, 0, 30), *past, {});
  const int64_t size_bytes = past->size_bytes();
  recurrent.forward(batch.ids.narrow(1, 30, 30), *past, {});
  CHECK(past->size_bytes() == size_bytes);
}

/// A window as long as the text reads no code. With the codes, the form that trains and the one that reads texts
/// agree over many blocks of positions, and the state does not grow.
void check_longvq() {
  model::ModelConfig config = config_of(model::LongvqKind::kind);
  config.window_size = 60;
  model::LanguageModel model = tiny_model(config, at::kDouble);
  const TextBatch batch = batch_of(some_text(30, config.vocab_size), config);
  const at::Tensor whole = logits_in_segments(model, batch.ids, {30});
  {
    const at::NoGradGuard no_grad;
    for (model::Weight& weight : model.weights())
      if (!weight.rules.trained) weight.master.mul_(2.0).add_(1.0);
  }
  CHECK(at::equal(logits_in_segments(model, batch.ids, {30}), whole));

  const model::ModelConfig coded_config = config_of(model::LongvqKind::kind);
  const model::LanguageModel coded = tiny_model(coded_config, at::kDouble);
  const TextBatch text = batch_of(some_text(300, config.vocab_size), coded_config);
  const at::Tensor expected = logits_in_segments(coded, text.ids, {300});
  const std::unique_ptr<model::Past> trained = coded.begin();
  CHECK(largest_difference(coded.logits(coded.forward(text.ids, *trained, {})), expected) <= 1e-10);
  CHECK(largest_difference(logits_in_segments(coded, text.ids, cut_every(300, 41)), expected) <= 1e-10);
  CHECK(largest_difference(logits_in_segments(coded, text.ids, cut_every(300, 1)), expected) <= 1e-10);
  const at::NoGradGuard no_grad;
  const std::unique_ptr<model::Past> past = coded.begin();
  coded.forward(text.ids.narrow(1, 0, 100), *past, {});
  const int64_t size_bytes = past->size_bytes();
  coded.forward(text.ids.narrow(1, 100, 200), *past, {});
  CHECK(past->size_bytes() == size_bytes);
}

/// With ALiBi and as many key/value heads as heads it is the baseline with a window as long as the text.
void check_full() {
  model::ModelConfig config = config_of(model::FullKind::kind);
  config.position = "alibi";
  config.n_kv_heads = config.n_heads;
  const model::LanguageModel model = tiny_model(config);
  model::ModelConfig window_config = config;
  window_config.self_attention = model::WindowKind::kind.self_attention;
  window_config.window_size = 60;
  model::LanguageModel baseline(window_config, at::kFloat);
  copy_weights(model, baseline);
  const TextBatch batch = batch_of(some_text(60, config.vocab_size), config);
  const at::Tensor expected = logits_in_segments(baseline, batch.ids, {60});
  CHECK(largest_difference(logits_in_segments(model, batch.ids, {60}), expected) <= 1e-5);
}

/// Where nothing is read, what is left is the baseline with the same weights.
void check_gca() {
  const model::ModelConfig config = config_of(model::GcaKind::kind);
  const model::LanguageModel model = tiny_model(config);
  model::ModelConfig window_config = config;
  window_config.long_range = model::WindowKind::kind.name;
  model::LanguageModel baseline(window_config, at::kFloat);
  copy_weights(model, baseline);
  const TextBatch batch = batch_of(some_text(60, config.vocab_size), config);  // landmarks are ids to both
  const std::vector<int64_t> whole = {batch.ids.size(1)};
  model::ForwardOptions reads_nothing;
  reads_nothing.retriever = model::Retriever::none;
  const at::Tensor expected = logits_in_segments(baseline, batch.ids, whole);
  CHECK(largest_difference(logits_in_segments(model, batch.ids, whole, reads_nothing), expected) <= 1e-5);
  CHECK(largest_difference(logits_in_segments(model, batch.ids, whole), expected) > 1e-2);
}

}  // namespace

TEST_CASE("backbones: every kind has a degenerate case that something simpler computes") {
  const std::map<std::string, void (*)()> checks = {{"gca", check_gca},
                                                    {"none", check_window},
                                                    {"landmark", check_landmark},
                                                    {"rmt", check_rmt},
                                                    {"fot", check_fot},
                                                    {"longvq", check_longvq},
                                                    {"tensorized", check_tensorized},
                                                    {"recurformer", check_recurformer},
                                                    {"full", check_full}};
  for_each_kind([&](const model::ModelConfig& config) {
    const auto check = checks.find(config.self_attention == "full" ? "full" : config.long_range);
    REQUIRE(check != checks.end());
    check->second();
  });
}

// ---- Costs against the operators that run.

namespace {

/// Multiply-adds of the products and the attention that run on this thread while it lives.
class WorkCount {
 public:
  WorkCount() {
    counted_ = 0;
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&begin, &end).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  }
  ~WorkCount() { at::removeCallback(handle_); }
  WorkCount(const WorkCount&) = delete;
  WorkCount& operator=(const WorkCount&) = delete;

  static double counted() { return counted_; }

 private:
  static bool is_ours(const at::RecordFunction& function) {
    return std::string(function.name()).starts_with("gca::");
  }

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    // An operator of ours calls itself again below autograd.
    if (calls_of_ours_ == 0) counted_ += multiply_adds(function.name(), function.inputs());
    if (is_ours(function)) ++calls_of_ours_;
    return nullptr;
  }

  static void end(const at::RecordFunction& function, at::ObserverContext* /*context*/) {
    if (is_ours(function)) --calls_of_ours_;
  }

  static double multiply_adds(const std::string& name, c10::ArrayRef<const c10::IValue> inputs) {
    const auto tensor = [&](size_t i) { return inputs[i].toTensor(); };
    if (name == "aten::mm" || name == "aten::bmm")
      return static_cast<double>(tensor(0).numel()) * static_cast<double>(tensor(1).size(-1));
    if (name == "gca::selective_scan_forward")  // decays, additions and readings of states
      return 3 * static_cast<double>(tensor(0).numel()) * static_cast<double>(tensor(5).size(1));
    if (name == "gca::landmark_search") {
      double rows = 0;
      for (const at::Tensor& part : inputs[1].toTensorVector()) rows += static_cast<double>(part.size(1));
      return static_cast<double>(tensor(0).numel()) * rows;
    }
    double pairs = 0;  // of a query and a key, each a product with the key and one with the value
    if (name == "gca::sliding_window_attention" || name == "gca::sliding_window_attention_forward") {
      const int64_t W = inputs[4].toInt();
      for (int64_t i = tensor(1).size(1) - tensor(0).size(1); i < tensor(1).size(1); ++i)
        pairs += static_cast<double>(std::min(i, W) + 1);
      pairs *= static_cast<double>(tensor(0).size(0));  // hops run residue classes as rows of a batch
    } else if (name == "gca::landmark_attention_forward") {
      for (int64_t i = tensor(1).size(1) - tensor(0).size(1); i < tensor(1).size(1); ++i)
        pairs += static_cast<double>(i + 1);
    } else if (name == "gca::grouped_cross_attention") {
      const at::Tensor chosen = tensor(3).ge(0).sum(-1).flatten();  // chunks a row reads
      const auto positions = static_cast<double>(tensor(0).size(1)) / static_cast<double>(chosen.numel());
      pairs = chosen.sum().item<double>() * positions * static_cast<double>(tensor(1).size(2));
    } else {
      return 0;
    }
    return 2 * pairs * static_cast<double>(tensor(0).size(2) * tensor(0).size(3));
  }

  static thread_local double counted_;
  static thread_local int calls_of_ours_;
  at::CallbackHandle handle_;
};

thread_local double WorkCount::counted_ = 0;
thread_local int WorkCount::calls_of_ours_ = 0;

}  // namespace

TEST_CASE("backbones: parameters and multiply-adds are those of the weights and operators that run") {
  for_each_kind([](model::ModelConfig config) {
    config.chunk_size = 32;
    config.window_size = 50;
    config.landmark_local_size = 64;
    config.local_context_size = 50;
    const model::LanguageModel model = tiny_model(config);
    CHECK(model::parameter_count(config) == static_cast<double>(model.parameter_count()));

    const int64_t T = 12 * config.chunk_text_size();
    const TextBatch batch = batch_of(some_text(T, config.vocab_size), config);
    const at::NoGradGuard no_grad;
    // The plain search scores everything, as is told; the fast one leaves out what it can.
    std::optional<kernels::ImplementationGuard> plain;
    if (model::backbone_kind(config).choice_unit != model::ChoiceUnit::none)
      plain.emplace(kernels::Implementation::reference);
    const WorkCount count;
    const std::unique_ptr<model::Past> past = model.begin();
    model.logits(model.forward(batch.ids, *past, {}));
    const double told = model.cost(T).multiply_adds * static_cast<double>(T);
    // Landmarks are run, but do not count as useful.
    const double landmarks = static_cast<double>(batch.ids.size(1)) / static_cast<double>(T);
    CHECK(WorkCount::counted() >= 0.999999 * told);
    CHECK(WorkCount::counted() <= 1.000001 * told * (landmarks > 1 ? landmarks + 0.01 : 1.0));
  });
}
