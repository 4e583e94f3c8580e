// Training with retriever=frozen: the vectors of a batch are those of its rows, however the batch is cut.

#include "tests/support/chunk_vectors_file.h"
#include "tests/support/doctest.h"
#include "tests/support/frozen_model.h"
#include "tests/support/tiny_training.h"

#include "lib/train/progress/measure_reading.h"
#include "lib/train/progress/validation.h"
#include "lib/train/step/step_probe.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kSteps = 3;
constexpr int64_t kSize = 6;

/// Sequence number i has vectors of its own.
train::BatchSource source_with_vectors(const model::ModelConfig& config, uint32_t seed = 1) {
  train::BatchSource source = copy_source(config);
  source.batch = [plain = source.batch, S = config.chunk_size, seed](int64_t consumed, int64_t rows) {
    data::Batch batch = plain(consumed, rows);
    batch.vector_size = kSize;
    batch.chunks = batch.length / S;
    for (int64_t row = 0; row < rows; ++row) {
      const std::vector<float> own =
          some_numbers(batch.chunks * kSize, seed + static_cast<uint32_t>(consumed + row));
      for (const float number : own) batch.chunk_vectors.push_back(3 * number);
    }
    return batch;
  };
  return source;
}

train::TrainConfig train_config() {
  train::TrainConfig config = tiny_train_config();
  config.batch = 4;
  return config;
}

double train_steps(model::LanguageModel& model, const train::TrainConfig& config,
                   const train::BatchSource& source) {
  train::Trainer trainer(model, config, source, 3, kSteps);
  double loss = 0;
  for (int64_t step = 0; step < kSteps; ++step)
    loss = trainer.make_step(step, step * config.sequences_per_step(), true).loss;
  return loss;
}

}  // namespace

TEST_CASE("Frozen choice: micro-batches add up to the batch they were cut from, and the vectors decide") {
  const model::ModelConfig config = frozen_config();
  train::TrainConfig cut = train_config();
  cut.batch = 1;
  cut.gradient_accumulation = 4;
  model::LanguageModel whole = tiny_model(config, at::kDouble), in_parts = tiny_model(config, at::kDouble),
                       other = tiny_model(config, at::kDouble);
  const double expected = train_steps(whole, train_config(), source_with_vectors(config));
  CHECK(train_steps(in_parts, cut, source_with_vectors(config)) == doctest::Approx(expected).epsilon(1e-7));
  CHECK(largest_change(in_parts, copies_of_masters(whole)) <= 1e-6);
  train_steps(other, train_config(), source_with_vectors(config, 100));
  CHECK(largest_change(other, copies_of_masters(whole)) > 1e-4);
}

TEST_CASE("Frozen choice: training leaves the norms of queries as they were") {
  train::TrainConfig config = train_config();
  config.weight_decay = 0;
  model::LanguageModel model = tiny_model(frozen_config());
  const std::vector<at::Tensor> before = copies_of_masters(model);
  train_steps(model, config, source_with_vectors(model.config()));
  int norms = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const model::Weight& weight = model.weights()[i];
    const bool is_query_norm = weight.name.ends_with("query_norm");
    norms += is_query_norm ? 1 : 0;
    CAPTURE(weight.name);
    CHECK((largest_difference(weight.master.detach(), before[i]) == 0.0) == is_query_norm);
  }
  CHECK(norms == 2);
}

TEST_CASE("Frozen choice: validations and what reading gains are of the vectors, and a probe needs none") {
  model::LanguageModel model = tiny_model(frozen_config());
  train::ValidationSource source, other;
  source.source = source_with_vectors(model.config());
  source.sequences = other.sequences = 3;
  source.batch = other.batch = 2;
  other.source = source_with_vectors(model.config(), 100);
  const double loss = train::validate(model, source, 2).loss;
  CHECK(train::validate(model, source, 1).loss == doctest::Approx(loss));
  CHECK(std::abs(train::validate(model, other, 2).loss - loss) > 1e-4);
  const auto gain = train::measure_reading(model, source, 2);
  REQUIRE(gain);
  CHECK(gain->learned == doctest::Approx(loss));
  CHECK(gain->random != gain->learned);
  CHECK(gain->spread > 0);
  CHECK(train::probe_step(model, train_config(), 0).bytes_per_position > 0);
}
