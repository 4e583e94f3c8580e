#include "lib/eval/perplexity.h"

#include <ATen/ops/log_softmax.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/core/error.h"
#include "tests/support/one_batch.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kVocabulary = 40;

/// -log p of every token of `text` but the first, in one batch.
std::vector<double> direct_losses(const model::LanguageModel& model, std::span<const int32_t> text,
                                  const model::ForwardOptions& options = {}) {
  const at::Tensor log_p = at::log_softmax(one_batch_logits(model, text, options), -1);
  std::vector<double> losses;
  for (size_t j = 0; j + 1 < text.size(); ++j)
    losses.push_back(-log_p[static_cast<int64_t>(j)][text[j + 1]].item<double>());
  return losses;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}

std::vector<int32_t> bytes_of_ids() {
  std::vector<int32_t> bytes;
  for (int32_t id = 0; id < kVocabulary; ++id) bytes.push_back(id % 5);
  return bytes;
}

struct Corpus {
  std::vector<std::vector<int32_t>> texts;
  std::vector<eval::EvalDocument> documents;

  explicit Corpus(const std::vector<size_t>& lengths) {
    for (size_t i = 0; i < lengths.size(); ++i) {
      texts.push_back(some_text(static_cast<int64_t>(lengths[i]), kVocabulary, static_cast<uint32_t>(i + 1)));
      documents.push_back(eval::eval_document("document " + std::to_string(i), texts.back(), 0));
    }
  }

  eval::Perplexity measure(const model::LanguageModel& model, const eval::PerplexityOptions& options,
                           int64_t max_tokens = 0) const {
    const auto spans = eval::choose_eval_spans(documents, options.context, max_tokens);
    return eval::measure_perplexity(model, documents, spans, {bytes_of_ids()}, options, {});
  }
};

}  // namespace

TEST_CASE("the loss of whole documents is that of their logits in one batch") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 3);
  const Corpus corpus({100, 37, 1, 2});
  const eval::Perplexity measured = corpus.measure(model, {.context = 1000});

  double nats = 0;
  int64_t targets = 0, bytes = 0;
  for (const auto& text : corpus.texts) {
    nats += sum(direct_losses(model, text));
    targets += static_cast<int64_t>(text.size()) - 1;
    for (size_t i = 1; i < text.size(); ++i) bytes += text[i] % 5;
  }
  CHECK(measured.total.tokens == targets);
  CHECK(measured.total.bytes == bytes);
  CHECK(measured.total.nats == doctest::Approx(nats).epsilon(1e-5));
  CHECK(measured.total.perplexity() ==
        doctest::Approx(std::exp(nats / static_cast<double>(targets))).epsilon(1e-4));
  CHECK(measured.total.bits_per_byte() ==
        doctest::Approx(nats / std::log(2.0) / static_cast<double>(bytes)).epsilon(1e-5));
  CHECK(measured.stretches == 3);  // the document of one token predicts nothing
  CHECK(measured.full_stretches == 0);
}

TEST_CASE("a context cuts documents into stretches of their own, each with the token after it as a target") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 4);
  const Corpus corpus({100, 64});
  const int64_t context = 32;
  const eval::Perplexity measured = corpus.measure(model, {.context = context});

  double nats = 0;
  std::vector<double> by_position(static_cast<size_t>(context), 0.0);
  for (const auto& text : corpus.texts) {
    for (size_t first = 0; first + 1 < text.size(); first += static_cast<size_t>(context)) {
      const size_t end = std::min(first + static_cast<size_t>(context) + 1, text.size());
      const auto losses = direct_losses(model, std::span(text).subspan(first, end - first));
      nats += sum(losses);
      for (size_t j = 0; j < losses.size(); ++j) by_position[j] += losses[j];
    }
  }
  CHECK(measured.total.tokens == 99 + 63);
  CHECK(measured.total.nats == doctest::Approx(nats).epsilon(1e-5));
  CHECK(measured.stretches == 4 + 2);
  CHECK(measured.full_stretches == 3 + 2);

  REQUIRE(measured.positions.size() == 2);
  CHECK(measured.positions[0].from == 0);
  CHECK(measured.positions[0].to == 16);
  CHECK(measured.positions[1].from == 16);
  CHECK(measured.positions[1].to == 32);
  for (const eval::PositionBucket& position : measured.positions) {
    double expected = 0;
    for (int64_t j = position.from; j < position.to; ++j) expected += by_position[static_cast<size_t>(j)];
    CHECK(position.sum.nats == doctest::Approx(expected).epsilon(1e-5));
  }
  CHECK(measured.positions[0].sum.tokens ==
        5 * 16 + 3);  // the last stretch of the first document has 3 targets
}

TEST_CASE("every context scores the same targets, and their positions add up to the whole") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 5);
  const Corpus corpus({130, 90, 41});
  for (const int64_t context : {5, 16, 33, 64, 200}) {
    CAPTURE(context);
    const eval::Perplexity measured = corpus.measure(model, {.context = context});
    CHECK(measured.total.tokens == 129 + 89 + 40);
    eval::LossSum total;
    for (const eval::PositionBucket& position : measured.positions) {
      CHECK(position.to <= context);
      total += position.sum;
    }
    CHECK(total.tokens == measured.total.tokens);
    CHECK(total.bytes == measured.total.bytes);
    CHECK(total.nats == doctest::Approx(measured.total.nats).epsilon(1e-12));
  }
}

TEST_CASE("with a stride every token is predicted once, with what stretches of their own give it") {
  for (const char* long_range : {"gca", "none"}) {
    CAPTURE(long_range);
    model::ModelConfig config = tiny_config();
    config.long_range = long_range;
    const model::LanguageModel model = tiny_model(config, at::kFloat, 5);
    const Corpus corpus({150, 90, 41, 1});
    const int64_t context = 40;
    for (const int64_t stride : {7, 16, 40}) {
      CAPTURE(stride);
      std::vector<eval::TokenLoss> shown;
      eval::PerplexityOptions options;
      options.context = context;
      options.stride = stride;
      options.segment_positions = 16;
      options.show_token = [&](const eval::TokenLoss& one) { shown.push_back(one); };
      const eval::Perplexity measured = corpus.measure(model, options);

      // Plainly: for each token the first stretch that reaches it, evaluated alone.
      size_t next = 0;
      double nats = 0;
      std::vector<int64_t> predictions_by_bucket(3, 0);
      for (size_t i = 0; i < corpus.texts.size(); ++i) {
        const std::vector<int32_t>& text = corpus.texts[i];
        double document_nats = 0;
        for (int64_t target = 1; target < static_cast<int64_t>(text.size()); ++target) {
          int64_t first = 0;
          while (first + context < target) first += stride;
          const auto losses = direct_losses(
              model,
              std::span(text).subspan(static_cast<size_t>(first), static_cast<size_t>(target + 1 - first)));
          REQUIRE(next < shown.size());
          const eval::TokenLoss& one = shown[next++];
          CHECK(one.document->name == "document " + std::to_string(i));
          CHECK(one.token == target);
          CHECK(one.id == text[static_cast<size_t>(target)]);
          CHECK(one.context == target - first);
          if (target > context) CHECK(one.context > context - stride);
          CHECK(one.loss.nats == doctest::Approx(losses.back()).epsilon(1e-4));
          document_nats += losses.back();
          ++predictions_by_bucket[one.context <= 16 ? 0 : one.context <= 32 ? 1 : 2];
        }
        nats += document_nats;
        if (text.size() < 2) continue;
        REQUIRE(i < measured.documents.size());
        CHECK(measured.documents[i].document == static_cast<int64_t>(i));
        CHECK(measured.documents[i].sum.tokens == static_cast<int64_t>(text.size()) - 1);
        CHECK(measured.documents[i].sum.nats == doctest::Approx(document_nats).epsilon(1e-5));
      }
      CHECK(next == shown.size());
      CHECK(measured.documents.size() == 3);  // a document of one token predicts nothing
      CHECK(measured.total.nats == doctest::Approx(nats).epsilon(1e-5));
      for (const eval::PositionBucket& position : measured.positions)
        CHECK(position.sum.tokens == predictions_by_bucket[position.from == 0    ? 0
                                                           : position.from == 16 ? 1
                                                                                 : 2]);
    }
  }
}

TEST_CASE("a stride goes on over the borders of the spans that a bound of the text takes") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 5);
  const Corpus corpus({150, 90});
  std::vector<int64_t> contexts;
  eval::PerplexityOptions options;
  options.context = 40;
  options.stride = 10;
  options.show_token = [&](const eval::TokenLoss& one) {
    if (one.token > 40) contexts.push_back(one.context);
  };
  const eval::Perplexity measured =
      corpus.measure(model, options, 170);  // spans of 40, 40 and 10 tokens, and 80
  CHECK(measured.total.tokens == 170);
  CHECK(contexts.size() == 170 - 80);
  CHECK(*std::min_element(contexts.begin(), contexts.end()) > 30);
}

TEST_CASE("bytes are scaled to the source of each document, with an unknown token there are none") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 5);
  std::vector<int32_t> first = some_text(50, kVocabulary, 1), second = some_text(30, kVocabulary, 2);
  std::replace(first.begin(), first.end(), 7, 8);
  second[20] = 7;
  const std::vector<eval::EvalDocument> documents = {eval::eval_document("a", first, 400),
                                                     eval::eval_document("b", second, 500)};
  data::PieceBytes pieces{bytes_of_ids(), /*is_exact=*/false};
  const auto spans = eval::choose_eval_spans(documents, 100, 0);
  eval::Perplexity measured =
      eval::measure_perplexity(model, documents, spans, pieces, {.context = 100, .end_token = 7}, {});
  const auto bytes_from = [](const std::vector<int32_t>& text, size_t from) {
    double bytes = 0;
    for (size_t i = from; i < text.size(); ++i) bytes += text[i] % 5;
    return bytes;
  };
  const double a = 400 * bytes_from(first, 1) / bytes_from(first, 0),
               b = 500 * bytes_from(second, 1) / bytes_from(second, 0);
  CHECK(measured.documents[0].sum.bytes == doctest::Approx(a));
  CHECK(measured.total.bytes == doctest::Approx(a + b));
  CHECK(measured.unknown_tokens == 0);
  CHECK(measured.end_tokens == std::count(second.begin() + 1, second.end(), 7));

  pieces.unknown_id = 7;
  measured = eval::measure_perplexity(model, documents, spans, pieces, {.context = 100}, {});
  CHECK(measured.documents[0].sum.bytes == doctest::Approx(a));
  CHECK(std::isnan(measured.documents[1].sum.bits_per_byte()));
  CHECK(std::isnan(measured.total.bits_per_byte()));
  CHECK(measured.unknown_tokens == std::count(second.begin(), second.end(), 7));
}

TEST_CASE("the segment size does not change the loss") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 6);
  const Corpus corpus({150});
  const double whole = corpus.measure(model, {.context = 150, .segment_positions = 1024}).total.loss();
  for (const int64_t segment : {1, 8, 16, 24, 64}) {
    CAPTURE(segment);
    const double loss = corpus.measure(model, {.context = 150, .segment_positions = segment}).total.loss();
    CHECK(loss == doctest::Approx(whole).epsilon(1e-4));
  }
}

TEST_CASE("chunk memory in a file changes nothing, as int8 the loss moves within its error") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 6);
  const Corpus corpus({150, 70});
  const TemporaryFolder folder;
  const double plain = corpus.measure(model, {.context = 100}).total.loss();
  const auto loss_with = [&](const std::string& dtype) {
    return corpus
        .measure(model,
                 {.context = 100, .memory = model::MemoryPlace::of("file:" + (folder / "memory"), dtype)})
        .total.loss();
  };
  CHECK(loss_with("fp32") == doctest::Approx(plain).epsilon(1e-7));
  const double rounded = loss_with("int8");
  CHECK(rounded != plain);
  CHECK(rounded == doctest::Approx(plain).epsilon(0.005));
}

TEST_CASE("each retriever is the model's own, and they differ") {
  const model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 7);
  const Corpus corpus({120});
  std::vector<double> losses;
  for (const model::Retriever retriever :
       {model::Retriever::learned, model::Retriever::recent, model::Retriever::none}) {
    model::ForwardOptions forward;
    forward.retriever = retriever;
    const double expected = sum(direct_losses(model, corpus.texts[0], forward));
    const eval::Perplexity measured = corpus.measure(model, {.context = 120, .retriever = retriever});
    CHECK(measured.total.nats == doctest::Approx(expected).epsilon(1e-5));
    losses.push_back(measured.total.loss());
  }
  const auto random = [&](uint64_t seed) {
    return corpus.measure(model, {.context = 120, .retriever = model::Retriever::random, .seed = seed})
        .total.nats;
  };
  CHECK(random(1) == random(1));
  CHECK(std::abs(random(1) - random(2)) > 1e-3);
  CHECK(std::abs(losses[0] - losses[1]) > 1e-3);
  CHECK(std::abs(losses[0] - losses[2]) > 1e-3);
}

TEST_CASE("a sliding-window model is measured without landmarks") {
  model::ModelConfig config = tiny_config();
  config.long_range = "none";
  const model::LanguageModel model = tiny_model(config, at::kFloat, 8);
  const Corpus corpus({70});
  const eval::Perplexity measured = corpus.measure(model, {.context = 100, .segment_positions = 9});
  CHECK(measured.total.nats == doctest::Approx(sum(direct_losses(model, corpus.texts[0]))).epsilon(1e-5));
}

TEST_CASE("a loss that is not finite names the document") {
  model::LanguageModel model = tiny_model(tiny_config(), at::kFloat, 9);
  for (model::Weight& weight : model.weights()) {
    const at::NoGradGuard no_grad;
    if (weight.name == "out_norm") weight.master.fill_(std::numeric_limits<float>::quiet_NaN());
  }
  const Corpus corpus({20});
  CHECK_THROWS_WITH_AS(corpus.measure(model, {.context = 20}),
                       doctest::Contains("document 0: the loss of token 1 is not finite"), Error);
}
