// The row decoder, one position at a time, against the plain version of every operator over the whole text.

#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>
#include <ATen/record_function.h>
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <string_view>

#include "kernels/common/implementation.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;
using kernels::Implementation;
using kernels::ImplementationGuard;

namespace {

struct Variant {
  const char* what;
  void (*change)(model::ModelConfig& config);
};

const Variant kVariants[] = {
    {"two groups, shared key/value heads", [](model::ModelConfig&) {}},
    {"residual blended", [](model::ModelConfig& config) { config.residual_blend = 0.4; }},
    {"residual reset, plain softmax",
     [](model::ModelConfig& config) {
       config.residual_blend = 1.0;
       config.softmax_off_by_one = false;
     }},
    {"three heads of an odd size",
     [](model::ModelConfig& config) {
       config.d_model = 30;
       config.n_heads = 3;
       config.n_kv_heads = 3;
       config.d_ff = 37;
     }},
    {"window alone", [](model::ModelConfig& config) { config.long_range = "none"; }},
    {"landmark", [](model::ModelConfig& config) { config.long_range = "landmark"; }},
    {"landmark without positions",
     [](model::ModelConfig& config) {
       config.long_range = "landmark";
       config.landmark_positions = "none";
       config.chunk_size = 4;
       config.landmark_local_size = 4;
     }},
    {"rmt", [](model::ModelConfig& config) { config.long_range = "rmt"; }},
    {"rmt without memory",
     [](model::ModelConfig& config) {
       config.long_range = "rmt";
       config.memory_size = 0;
     }},
    {"fot", [](model::ModelConfig& config) { config.long_range = "fot"; }},
    {"fot that reads its whole memory",
     [](model::ModelConfig& config) {
       config.long_range = "fot";
       config.memory_layers = {0, 2};
       config.memory_top_k = 0;
     }},
    {"tensorized", [](model::ModelConfig& config) { config.long_range = "tensorized"; }},
    {"tensorized without an end",
     [](model::ModelConfig& config) {
       config.long_range = "tensorized";
       config.tensor_fold = {3, 1, 0};
     }},
};

std::vector<int64_t> one_by_one(int64_t count) {
  return std::vector<int64_t>(static_cast<size_t>(count), 1);
}

at::Tensor plain_logits(const model::LanguageModel& model, const at::Tensor& ids) {
  const ImplementationGuard guard(Implementation::reference);
  return logits_in_segments(model, ids, {ids.size(1)});
}

/// Counts positions that the row decoder takes while it lives.
class DecodedPositions {
 public:
  DecodedPositions() : callback_(at::addGlobalCallback(at::RecordFunctionCallback(&note))) { count_ = 0; }
  ~DecodedPositions() { at::removeCallback(callback_); }
  DecodedPositions(const DecodedPositions&) = delete;
  DecodedPositions& operator=(const DecodedPositions&) = delete;

  int64_t count() const { return count_; }

 private:
  static std::unique_ptr<at::ObserverContext> note(const at::RecordFunction& function) {
    if (std::string_view(function.name()) == "gca::decode_position") ++count_;
    return nullptr;
  }

  at::CallbackHandle callback_;
  static inline int64_t count_ = 0;
};

}  // namespace

TEST_CASE("decoding position by position equals the plain operators over the whole text") {
  for (const Variant& variant : kVariants) {
    CAPTURE(std::string(variant.what));
    model::ModelConfig config = tiny_config();
    variant.change(config);
    const TextBatch batch = batch_of(some_text(45, config.vocab_size), config);
    const int64_t L = batch.ids.size(1);
    for (const model::WeightDtype weights : {model::WeightDtype::compute, model::WeightDtype::int8}) {
      CAPTURE(static_cast<int>(weights));
      const model::LanguageModel in_float = tiny_model(config, at::kFloat, 1, weights);
      const at::Tensor truth = plain_logits(in_float, batch.ids);
      const DecodedPositions decoded;
      CHECK(largest_difference(logits_in_segments(in_float, batch.ids, one_by_one(L)), truth) <= 1e-4);
      // Some kinds leave the beginnings and the ends of their chunks to operators.
      CHECK(decoded.count() > L / 2);

      const model::LanguageModel in_bf16 = tiny_model(config, at::kBFloat16, 1, weights);
      const double plain_error = largest_difference(plain_logits(in_bf16, batch.ids), truth);
      for (const Implementation version : {Implementation::fast, Implementation::emulated}) {
        const ImplementationGuard guard(version);
        CAPTURE(static_cast<int>(version));
        const at::Tensor logits = logits_in_segments(in_bf16, batch.ids, one_by_one(L));
        CHECK(largest_difference(logits, truth) <= 2 * plain_error + 0.02);
      }
    }
  }
}

TEST_CASE("decoding gives the same bits with any number of threads, more than there are heads too") {
  // In bf16 every product is ours; in float32 those of whole chunks are the library's, whose sums may depend
  // on the number of threads.
  const ImplementationGuard guard(Implementation::emulated);
  const int threads_before = at::get_num_threads();
  for (const Variant& variant : kVariants) {
    CAPTURE(std::string(variant.what));
    model::ModelConfig config = tiny_config();
    variant.change(config);
    const TextBatch batch = batch_of(some_text(30, config.vocab_size), config);
    for (const model::WeightDtype weights : {model::WeightDtype::compute, model::WeightDtype::int8}) {
      const model::LanguageModel model = tiny_model(config, at::kBFloat16, 1, weights);
      at::Tensor of_one;
      for (const int threads : {1, 2, 3, 5}) {
        CAPTURE(threads);
        at::set_num_threads(threads);
        const at::Tensor logits = logits_in_segments(model, batch.ids, one_by_one(batch.ids.size(1)));
        if (threads == 1) of_one = logits;
        CHECK(at::equal(logits, of_one));
      }
    }
  }
  at::set_num_threads(threads_before);
}
