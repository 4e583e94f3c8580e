#include "apps/gca-tensor/eval_answers.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "apps/gca-tensor/eval_texts.h"
#include "apps/gca-tensor/policy_reading.h"
#include "apps/gca-tensor/ranks.h"
#include "apps/gca/process/interrupt.h"
#include "lib/core/error.h"
#include "lib/eval/answer_perplexity.h"
#include "lib/parallel/agreement.h"

namespace gca::app {
namespace {

using Json = nlohmann::ordered_json;

/// A stretch holds at least one token before its question.
void require_room(const EvalOptions& options, std::span<const int64_t> contexts) {
  const int64_t shortest = *std::min_element(contexts.begin(), contexts.end());
  if (shortest <= options.answer_tokens + options.question_tokens)
    fail_usage(fmt::format("--context {}", shortest),
               fmt::format("leaves nothing before a question of {} tokens and an answer of {}",
                           options.question_tokens, options.answer_tokens),
               "give a longer context, or lower --answer-tokens or --question-tokens");
}

std::string table_head() {
  return fmt::format("{:>9}  {:9} {:>9} {:>9} {:>11} {}\n", "context", "policy", "answers", "loss",
                     "perplexity", step_cost_head());
}

}  // namespace

void eval_answers(const EvalOptions& options, const model::TextModel& model, parallel::Communicator* ranks,
                  JsonReport& report) {
  EvalTexts texts;
  parallel::succeed_together(ranks, [&] {
    texts = open_documents(options, model, is_writer(ranks));
    require_room(options, texts.contexts);
    for (const std::string& policy : options.kv_policies)
      policy_reader(options, model, policy);  // can it be?
  });
  require_same_texts(ranks, texts.documents);
  const int64_t longest = *std::max_element(texts.contexts.begin(), texts.contexts.end());
  const auto spans = eval::choose_eval_spans(texts.documents, longest, options.max_tokens);
  const bool shows = shows_progress(options.common);
  report.config["max_tokens"] = options.max_tokens;
  report.config["answer_tokens"] = options.answer_tokens;
  report.config["question_tokens"] = options.question_tokens;
  report.config["kv_policies"] = policies_to_json(options.kv_policies, options.kv_settings);
  report.config["kv_dtype"] = resolved_kv_dtype(options.checkpoint.tensor);
  report.result["documents"] = texts.documents.size();
  report.result["answers"] = Json::array();
  std::string table = table_head();
  for (const int64_t context : texts.contexts) {
    for (const std::string& policy : options.kv_policies) {
      eval::PolicyReader reader = policy_reader(options, model, policy);
      const eval::AnswerPerplexity measured = eval::measure_answers(
          reader, texts.documents, spans, {context, options.answer_tokens, options.question_tokens, ranks},
          [&](const eval::AnswerPerplexity& so_far) {
            throw_if_interrupted();
            if (shows)
              fmt::print(stderr, "\rcontext {}  {}  {} answers  loss {:.4f} ", context, policy,
                         so_far.stretches, so_far.total.loss());
          });
      if (shows) fmt::print(stderr, "\r\033[K");
      if (!is_writer(ranks)) continue;
      if (measured.stretches == 0)
        fail_usage(fmt::format("--max-tokens {}", options.max_tokens),
                   fmt::format("holds no stretch of {} tokens", context), "raise it, or leave it out");
      Json row = {{"context", context},
                  {"kv_policy", policy},
                  {"answers", measured.stretches},
                  {"tokens", measured.total.tokens},
                  {"loss", measured.total.loss()},
                  {"perplexity", measured.total.perplexity()}};
      row.update(step_cost_to_json(reader.cost()));
      report.result["answers"].push_back(std::move(row));
      table += fmt::format("{:>9}  {:9} {:>9} {:>9.4f} {:>11.3f} {}\n", context, policy, measured.stretches,
                           measured.total.loss(), measured.total.perplexity(), step_cost_text(reader.cost()));
    }
  }
  if (is_writer(ranks)) finish_report(report, options.common, "", table);
}

}  // namespace gca::app
