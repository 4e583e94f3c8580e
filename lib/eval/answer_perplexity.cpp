#include "lib/eval/answer_perplexity.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "lib/core/error.h"
#include "lib/parallel/shared_work.h"

namespace gca::eval {

namespace {

struct Stretch {
  const EvalDocument* document = nullptr;
  int64_t first = 0;  ///< token of the document
};

/// Nats of each token of the answer.
std::vector<double> read_answer(PolicyReader& reader, const Stretch& stretch,
                                const AnswerSettings& settings) {
  std::vector<int32_t> text(static_cast<size_t>(settings.context));
  const auto prompt_tokens = static_cast<size_t>(settings.context - settings.answer_tokens);
  stretch.document->read(stretch.first, text);
  const std::span<const int32_t> answer = std::span<const int32_t>(text).subspan(prompt_tokens);
  std::vector<double> nats;
  reader.read(std::span(text).first(prompt_tokens), settings.question_tokens, answer,
              [&](const at::Tensor& logits) {
                nats.push_back(-logits.log_softmax(-1, at::kDouble)[answer[nats.size()]].item<double>());
                if (!std::isfinite(nats.back()))
                  fail_run(stretch.document->name,
                           fmt::format("the loss of token {} is not finite",
                                       stretch.first + static_cast<int64_t>(prompt_tokens + nats.size()) - 1),
                           "the checkpoint may have diverged");
              });
  return nats;
}

}  // namespace

AnswerPerplexity measure_answers(PolicyReader& reader, std::span<const EvalDocument> documents,
                                 std::span<const EvalSpan> spans, const AnswerSettings& settings,
                                 const std::function<void(const AnswerPerplexity&)>& progress) {
  std::vector<Stretch> stretches;
  for (const EvalSpan& span : spans)
    for (int64_t first = span.first; first + settings.context <= span.first + span.tokens;
         first += settings.context)
      stretches.push_back({&documents[static_cast<size_t>(span.document)], first});
  AnswerPerplexity result;
  const auto count = [&](const std::vector<double>& nats) {
    for (const double one : nats) result.total += {one, 1, 0};
    ++result.stretches;
    if (progress) progress(result);
  };
  if (settings.ranks == nullptr) {
    for (const Stretch& stretch : stretches) count(read_answer(reader, stretch, settings));
    return result;
  }
  parallel::SharedWork shared;
  shared.name = "answer";
  shared.pieces = static_cast<int64_t>(stretches.size());
  shared.work = [&](int64_t i) {
    const std::vector<double> nats = read_answer(reader, stretches[static_cast<size_t>(i)], settings);
    // Of its own stretches a reader knows the cost.
    const nlohmann::json cost = settings.ranks->rank() == 0 ? nlohmann::json() : to_json(reader.last_cost());
    std::string bytes;
    nlohmann::json::to_cbor({{"nats", nats}, {"cost", cost}}, bytes);
    return bytes;
  };
  shared.take = [&](int64_t, std::string_view bytes) {
    const nlohmann::json one = nlohmann::json::from_cbor(bytes);
    if (!one["cost"].is_null()) reader.add_cost(step_cost_of(one["cost"]));
    count(one["nats"].get<std::vector<double>>());
  };
  parallel::share_out(*settings.ranks, shared);
  return result;
}

}  // namespace gca::eval
