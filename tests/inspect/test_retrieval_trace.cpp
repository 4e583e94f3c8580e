#include "lib/inspect/retrieval_trace.h"

#include "tests/support/doctest.h"

#include <cmath>
#include <map>

#include "lib/core/error.h"
#include "lib/model/text_feeder.h"
#include "tests/support/one_batch.h"

using namespace gca;
using namespace gca::testing;

namespace {

/// "r.g", "idx.g" and "w.g" of the text run as one batch.
std::map<std::string, at::Tensor> observed_in_one_batch(const model::LanguageModel& model,
                                                        std::span<const int32_t> text) {
  std::map<std::string, at::Tensor> observed;
  model::ForwardOptions options;
  options.observe = [&](const std::string& name, const at::Tensor& value) { observed[name] = value; };
  one_batch_logits(model, text, options);
  return observed;
}

}  // namespace

TEST_CASE("a trace tells what the tokens of each chunk read in one batch, whatever the segments") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 3);
  const std::vector<int32_t> text = some_text(7 * 11 + 3, 40);  // 11 chunks and an open one
  const auto observed = observed_in_one_batch(model, text);
  for (const int64_t segment : {8, 16, 40, 0}) {
    CAPTURE(segment);
    const std::vector<inspect::ChunkReading> readings = inspect::trace_retrieval(model, text, segment);
    REQUIRE(readings.size() == 12);
    for (int64_t t = 0; t < 12; ++t) {
      CAPTURE(t);
      const inspect::ChunkReading& reading = readings[static_cast<size_t>(t)];
      CHECK(reading.chunk == t);
      CHECK(reading.first_token == 7 * t);
      CHECK(reading.tokens == (t < 11 ? 7 : 3));
      REQUIRE(reading.readers.size() == 2);
      for (size_t g = 0; g < 2; ++g) {
        const auto& retrieved = reading.readers[g];
        CHECK(retrieved.size() == static_cast<size_t>(std::clamp<int64_t>(t - 1, 0, 2)));
        const std::string group = std::to_string(g);
        double sum = 0;
        for (size_t i = 0; i < retrieved.size(); ++i) {
          const inspect::RetrievedChunk& chunk = retrieved[i];
          CHECK(chunk.chunk < t - 1);
          CHECK(std::abs(chunk.score - observed.at("r." + group)[0][t - 1][chunk.chunk].item<double>()) <
                1e-4);
          bool found = false;
          for (int64_t slot = 0; slot < 2; ++slot) {
            if (observed.at("idx." + group)[0][t - 1][slot].item<int64_t>() != chunk.chunk) continue;
            found = true;
            CHECK(std::abs(chunk.weight - observed.at("w." + group)[0][t - 1][slot].item<double>()) < 1e-4);
          }
          CHECK(found);
          if (i > 0) CHECK(chunk.weight <= retrieved[i - 1].weight);
          sum += chunk.weight;
        }
        if (!retrieved.empty()) CHECK(std::abs(sum - 1) < 1e-5);
      }
    }
  }
}

TEST_CASE("a text after a past reads what it reads within the whole text, the past numbered backwards") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 3);
  const std::vector<int32_t> text = some_text(7 * 19 + 3, 40);
  const auto whole = inspect::trace_retrieval(model, text);
  model::TextFeeder feeder(model, {}, 16);
  feeder.feed(std::span(text).first(7 * 9), [](const at::Tensor&, int64_t) {});
  const auto after = inspect::trace_retrieval(model, std::span(text).subspan(7 * 9), 24, feeder.take_past());
  REQUIRE(after.size() == whole.size() - 9);
  for (size_t t = 1; t < after.size(); ++t)  // the first was served by a landmark of the past
    for (size_t g = 0; g < 2; ++g) {
      REQUIRE(after[t].readers[g].size() == 2);
      for (size_t i = 0; i < 2; ++i) {
        CHECK(after[t].readers[g][i].chunk == whole[t + 9].readers[g][i].chunk - 9);
        CHECK(std::abs(after[t].readers[g][i].score - whole[t + 9].readers[g][i].score) < 1e-4);
      }
    }
  CHECK(after[1].first_token == 7);
}

TEST_CASE("a text shorter than a chunk, and one that ends with its chunk") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 4);
  const auto one = inspect::trace_retrieval(model, some_text(3, 40));
  REQUIRE(one.size() == 1);
  CHECK(one[0].tokens == 3);
  CHECK(one[0].readers[0].empty());
  CHECK(inspect::trace_retrieval(model, some_text(14, 40)).size() == 2);
  CHECK(inspect::trace_retrieval(model, {}).empty());
}

TEST_CASE("where positions choose, a chunk has what its tokens chose, whatever the segments") {
  for (const std::string kind : {"landmark", "fot"}) {
    CAPTURE(kind);
    model::ModelConfig config = tiny_config();
    config.long_range = kind;
    const model::LanguageModel model = tiny_model(config, at::kFloat, 3);
    const bool has_landmarks = kind == "landmark";
    const int64_t chunk_tokens = has_landmarks ? 7 : 8;
    const int64_t T = chunk_tokens * 9 + 3;
    const std::vector<int32_t> text = some_text(T, 40);

    const std::unique_ptr<model::Past> past = model.begin();
    const at::NoGradGuard no_grad;
    model::ForwardOptions options;
    options.choices = model::ChoiceDetail::chosen;
    model.forward(batch_of(text, config).ids, *past, options);
    const std::vector<model::Choices> choices = past->choices();
    REQUIRE(choices.size() == (has_landmarks ? 3 : 1) * 4);

    const auto names = inspect::reader_names(config);
    REQUIRE(names.size() == choices.size());
    CHECK(names[has_landmarks ? 5 : 1] == "layer 1, head 1");  // memory_layers is [1]
    bool has_read = false;
    for (const int64_t segment : {8, 24, 0}) {
      const auto readings = inspect::trace_retrieval(model, text, segment);
      REQUIRE(readings.size() == 10);
      for (size_t reader = 0; reader < choices.size(); ++reader)
        for (int64_t t = 0; t < 10; ++t) {
          std::map<int64_t, std::pair<double, int64_t>> expected;  // by chunk: weight, tokens
          const int64_t tokens = std::min(chunk_tokens, T - t * chunk_tokens);
          for (int64_t i = 0; i < tokens; ++i) {
            const int64_t row = t * 8 + i;  // S = 8 positions of a chunk in either layout
            std::map<int64_t, double> of_row;
            for (int64_t slot = 0; slot < choices[reader].idx.size(2); ++slot) {
              const int64_t one = choices[reader].idx[0][row][slot].item<int32_t>();
              if (one >= 0)
                of_row[has_landmarks ? one : one / 8] +=
                    choices[reader].weights[0][row][slot].item<double>() / static_cast<double>(tokens);
            }
            for (const auto& [chunk, weight] : of_row) {
              expected[chunk].first += weight;
              ++expected[chunk].second;
            }
          }
          const auto& read = readings[static_cast<size_t>(t)].readers[reader];
          CHECK(read.size() == std::min<size_t>(expected.size(), inspect::kMostShown));
          for (size_t i = 0; i < read.size(); ++i) {
            has_read = true;
            REQUIRE(expected.contains(read[i].chunk));
            CHECK(read[i].weight == doctest::Approx(expected[read[i].chunk].first).epsilon(1e-4));
            CHECK(read[i].chosen_by == expected[read[i].chunk].second);
            CHECK(read[i].chunk <= t);
            if (i > 0) CHECK(read[i].weight <= read[i - 1].weight);
            double sum = 0;
            for (const double weight : read[i].of_tokens) sum += weight;
            if (!has_landmarks) CHECK(sum == doctest::Approx(read[i].weight).epsilon(1e-9));
          }
        }
    }
    CHECK(has_read);
  }
}

TEST_CASE("a sliding-window model has nothing to trace") {
  model::ModelConfig config = tiny_config();
  config.long_range = "none";
  const model::LanguageModel model = tiny_model(config, at::kFloat, 5);
  CHECK_THROWS_AS(inspect::trace_retrieval(model, some_text(30, 40)), Error);
}
