#include "lib/eval/answer_perplexity.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "lib/core/error.h"

namespace gca::eval {

AnswerPerplexity measure_answers(PolicyReader& reader, std::span<const EvalDocument> documents,
                                 std::span<const EvalSpan> spans, const AnswerSettings& settings,
                                 const std::function<void(const AnswerPerplexity&)>& progress) {
  AnswerPerplexity result;
  std::vector<int32_t> text(static_cast<size_t>(settings.context));
  const auto prompt_tokens = static_cast<size_t>(settings.context - settings.answer_tokens);
  for (const EvalSpan& span : spans) {
    const EvalDocument& document = documents[static_cast<size_t>(span.document)];
    for (int64_t first = span.first; first + settings.context <= span.first + span.tokens;
         first += settings.context) {
      document.read(first, text);
      const std::span<const int32_t> answer = std::span<const int32_t>(text).subspan(prompt_tokens);
      int64_t predicted = 0;
      reader.read(
          std::span(text).first(prompt_tokens), settings.question_tokens, answer,
          [&](const at::Tensor& logits) {
            const double nats =
                -logits.log_softmax(-1, at::kDouble)[answer[static_cast<size_t>(predicted)]].item<double>();
            if (!std::isfinite(nats)) {
              const int64_t token = first + static_cast<int64_t>(prompt_tokens) + predicted;
              fail_run(document.name, fmt::format("the loss of token {} is not finite", token),
                       "the checkpoint may have diverged");
            }
            result.total += {nats, 1, 0};
            ++predicted;
          });
      ++result.stretches;
      if (progress) progress(result);
    }
  }
  return result;
}

}  // namespace gca::eval
