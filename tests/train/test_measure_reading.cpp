#include "lib/train/progress/measure_reading.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "lib/train/data/batch_tensors.h"
#include "lib/train/progress/validation.h"
#include "tests/support/doctest.h"
#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

namespace {

/// `sequences` repeated passages, as text whose accuracy is not looked at.
train::ValidationSource text_source(const model::ModelConfig& config, int64_t sequences) {
  train::ValidationSource source;
  source.source = copy_source(config, tasks::kFirstHeldOut);
  source.sequences = sequences;
  source.batch = 2;
  return source;
}

double plain_loss(const model::LanguageModel& model, const train::ValidationSource& source,
                  model::Retriever retriever) {
  const at::NoGradGuard no_grad;
  model::ForwardOptions options;
  options.retriever = retriever;
  double sum = 0;
  int64_t targets_seen = 0;
  for (int64_t number = 0; number < source.sequences; ++number) {  // one at a time
    const auto [ids, targets] = train::to_tensors(source.source.batch(number, 1));
    sum += model.loss(model.forward(ids, *model.begin(), options), targets)
               .per_target.sum(at::kDouble)
               .item<double>();
    targets_seen += targets.ge(0).sum().item<int64_t>();
  }
  return sum / static_cast<double>(targets_seen);
}

}  // namespace

TEST_CASE("What reading gains: the losses of three passes over the same sequences, four at most") {
  const model::LanguageModel model = tiny_model(tiny_config());
  const train::ValidationSource few = text_source(model.config(), 3);
  const auto gain = train::measure_reading(model, few, 2);
  REQUIRE(gain);
  CHECK(gain->sequences == 3);
  CHECK(gain->learned == doctest::Approx(train::validate(model, few, 2).loss));
  CHECK(gain->learned == doctest::Approx(plain_loss(model, few, model::Retriever::learned)));
  CHECK(gain->none == doctest::Approx(plain_loss(model, few, model::Retriever::none)));
  CHECK(gain->random != gain->learned);
  CHECK(gain->spread > 0);
  CHECK(train::measure_reading(model, text_source(model.config(), 9), 2)->sequences == 4);

  const train::ReadingGain back = train::reading_from_json(train::reading_to_json(*gain));
  CHECK(back.learned == gain->learned);
  CHECK(back.random == gain->random);
  CHECK(back.none == gain->none);
  CHECK(back.spread == gain->spread);
  CHECK(back.sequences == 3);
}

TEST_CASE(
    "What reading gains is not asked of a model without chunk memory, nor of a task, nor of text without a "
    "choice") {
  model::ModelConfig config = tiny_config();
  config.long_range = "none";
  const model::LanguageModel window = tiny_model(config);
  CHECK_FALSE(train::measure_reading(window, text_source(config, 2), 2));
  const model::LanguageModel model = tiny_model(tiny_config());
  train::ValidationSource task = text_source(model.config(), 2);
  task.measures_accuracy = true;
  CHECK_FALSE(train::measure_reading(model, task, 2));
  CHECK_FALSE(train::measure_reading(model, text_source(model.config(), 0), 2));
  model::ModelConfig long_chunks = tiny_config();
  long_chunks.chunk_size = 200;
  CHECK_FALSE(train::measure_reading(model, text_source(model.config(), 2), 2,
                                     std::make_shared<const model::ModelConfig>(long_chunks)));
}

TEST_CASE("A choice is dead where it is no better than a random one") {
  CHECK(train::is_choice_dead({.learned = 2.0, .random = 2.0005, .none = 2.3}));
  CHECK(train::is_choice_dead({.learned = 2.0, .random = 1.9, .none = 2.3}));
  CHECK_FALSE(train::is_choice_dead({.learned = 2.0, .random = 2.07, .none = 2.3}));
  CHECK(train::reading_text({.learned = 2.0, .random = 2.071, .none = 2.25, .spread = 0.93}) ==
        "reading gains 0.250, choosing 0.071 nats per token, spread of the scores 0.93");
}
