// gca eval: how well a model predicts text, by context length and position; eval_planted.cpp has the tasks
// that plant something in a text, eval_answers.cpp has text that is read under cache policies.

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "apps/gca-tensor/eval_answers.h"
#include "apps/gca-tensor/eval_planted.h"
#include "apps/gca-tensor/eval_texts.h"
#include "apps/gca-tensor/open_checkpoint.h"
#include "apps/gca-tensor/ranks.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/options/eval_options.h"
#include "apps/gca/process/interrupt.h"
#include "apps/gca/process/result_files.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/eval/perplexity.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/model_fingerprint.h"
#include "lib/parallel/agreement.h"
#include "lib/parallel/rank_environment.h"

namespace gca::app {
namespace {

/// One measurement: a context with a retriever.
struct EvalRow {
  int64_t context = 0;
  std::string retriever;
  eval::Perplexity perplexity;
};

void check_options(const EvalOptions& options) {
  if (options.data.empty() == options.inputs.empty()) {
    fail_usage("--data", options.data.empty() ? "is missing" : "is not used together with INPUT...",
               "give --data DIR (written by gca chunk or gca tokenize), or text files");
  }
  for (const int64_t context : options.contexts)
    if (context < 1) fail_usage("--context", "is below 1", "give 1 or more");
  if (options.stride < 0) fail_usage("--stride", "is below 1", "give 1 or more");
}

/// A longer stride would leave tokens out.
void require_stride_within(int64_t stride, std::span<const int64_t> contexts) {
  const int64_t shortest = *std::min_element(contexts.begin(), contexts.end());
  if (stride > shortest)
    fail_usage(fmt::format("--stride {}", stride), fmt::format("is longer than the context of {}", shortest),
               fmt::format("give at most {}", shortest));
}

/// What is read at a landmark serves the chunk after the next: in a shorter text nothing is.
void tell_where_nothing_is_retrieved(const model::ModelConfig& config, std::span<const int64_t> contexts,
                                     std::span<const std::string> retrievers) {
  const bool reads =
      std::any_of(retrievers.begin(), retrievers.end(), [](const auto& name) { return name != "none"; });
  if (!reads || model::backbone_kind(config).choice_unit != model::ChoiceUnit::chunk) return;
  const int64_t unread = 2 * config.chunk_text_size();
  for (const int64_t context : contexts)
    if (context <= unread)
      fmt::print(stderr,
                 "nothing is retrieved at --context {}: that begins after two chunks, {} text tokens\n",
                 context, unread);
}

nlohmann::ordered_json whole_bytes(double bytes) {
  if (std::isnan(bytes)) return nullptr;
  return std::llround(bytes);
}

/// --token-losses: a line for each prediction of every measurement.
class TokenLossFile {
 public:
  TokenLossFile(const std::string& path, const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    if (!path.empty()) file_.emplace(path);
  }
  bool is_open() const { return file_.has_value(); }

  void write(int64_t context, const std::string& retriever, const eval::TokenLoss& one) {
    const nlohmann::ordered_json line = {
        {"context", context},  {"retriever", retriever}, {"document", one.document->name},
        {"token", one.token},  {"id", one.id},           {"text", tokenizer_.decode({&one.id, 1})},
        {"seen", one.context}, {"loss", one.loss.nats}};
    file_->write(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  }
  void commit() {
    if (file_) file_->commit();
  }

 private:
  const text::Tokenizer& tokenizer_;
  std::optional<AtomicFile> file_;
};

std::vector<EvalRow> measure(const EvalOptions& options, const model::TextModel& model,
                             std::span<const eval::EvalDocument> documents,
                             std::span<const eval::EvalSpan> spans, std::span<const int64_t> contexts,
                             std::span<const std::string> retrievers, parallel::Communicator* ranks) {
  const data::PieceBytes pieces = data::PieceBytes::of(model.tokenizer);
  TokenLossFile token_losses(is_writer(ranks) ? options.token_losses : "", model.tokenizer);
  const bool progress = shows_progress(options.common);
  std::vector<EvalRow> rows;
  for (const int64_t context : contexts) {
    for (const std::string& retriever : retrievers) {
      eval::PerplexityOptions how;
      how.context = context;
      how.stride = options.stride;
      how.end_token = model.end_token;
      how.start_tokens = model.start_tokens;
      how.retriever = retriever_of(retriever);
      how.seed = options.common.seed;
      how.segment_positions = options.segment_positions;
      how.ranks = ranks;
      if (options.chooses_memory()) how.memory = model::MemoryPlace::of(options.memory, options.memory_dtype);
      if (token_losses.is_open())
        how.show_token = [&](const eval::TokenLoss& one) { token_losses.write(context, retriever, one); };
      const auto show = [&](const eval::LossSum& sum) {
        throw_if_interrupted();
        if (progress && sum.tokens > 0)
          fmt::print(stderr, "\rcontext {}  {}  {} tokens  loss {:.4f} ", context, retriever, sum.tokens,
                     sum.loss());
      };
      rows.push_back(
          {context, retriever, eval::measure_perplexity(model.model, documents, spans, pieces, how, show)});
    }
  }
  if (progress) fmt::print(stderr, "\r\033[K");
  token_losses.commit();
  return rows;
}

nlohmann::ordered_json documents_to_json(const EvalRow& row, std::span<const eval::EvalDocument> documents) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const eval::DocumentLoss& one : row.perplexity.documents)
    list.push_back({{"name", documents[static_cast<size_t>(one.document)].name},
                    {"tokens", one.sum.tokens},
                    {"bytes", whole_bytes(one.sum.bytes)},
                    {"loss", one.sum.loss()}});
  return list;
}

nlohmann::ordered_json context_to_json(const EvalRow& row, std::span<const eval::EvalDocument> documents) {
  const eval::LossSum& total = row.perplexity.total;
  return {{"context", row.context},
          {"retriever", row.retriever},
          {"tokens", total.tokens},
          {"bytes", whole_bytes(total.bytes)},
          {"loss", total.loss()},
          {"perplexity", total.perplexity()},
          {"bits_per_byte", total.bits_per_byte()},
          {"stretches", row.perplexity.stretches},
          {"full_stretches", row.perplexity.full_stretches},
          {"tokens_per_second", static_cast<double>(total.tokens) / row.perplexity.seconds},
          {"documents", documents_to_json(row, documents)}};
}

nlohmann::ordered_json position_to_json(const EvalRow& row, const eval::PositionBucket& position) {
  return {{"context", row.context}, {"retriever", row.retriever},    {"from", position.from},
          {"to", position.to},      {"tokens", position.sum.tokens}, {"loss", position.sum.loss()}};
}

/// Loss by position: one line per bucket, one column per row of the first table.
std::string position_table(std::span<const EvalRow> rows) {
  std::vector<std::string> labels;
  for (const EvalRow& row : rows) labels.push_back(fmt::format("{} {}", row.context, row.retriever));
  std::string table = fmt::format("\n{:>18}", "loss at position");
  for (const std::string& label : labels) table += "  " + label;
  table += "\n";
  int64_t longest = 0;
  for (const EvalRow& row : rows) longest = std::max(longest, row.perplexity.positions.back().to);
  for (int64_t from = 0, to = eval::kFirstPositionEnd; from < longest; from = to, to *= 2) {
    table += fmt::format("{:>18}", fmt::format("{} to {}", from, to - 1));
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto& positions = rows[i].perplexity.positions;
      const auto found =
          std::find_if(positions.begin(), positions.end(), [&](const auto& p) { return p.from == from; });
      const std::string loss = found == positions.end() ? "" : fmt::format("{:.4f}", found->sum.loss());
      table += fmt::format("  {:>{}}", loss, labels[i].size());
    }
    table += "\n";
  }
  return table;
}

std::string table_of(std::span<const EvalRow> rows, int64_t left_out) {
  std::string table = fmt::format("{:>9}  {:9} {:>11} {:>9} {:>11} {:>10} {:>9}\n", "context", "retriever",
                                  "tokens", "loss", "perplexity", "bits/byte", "tokens/s");
  for (const EvalRow& row : rows) {
    const eval::LossSum& total = row.perplexity.total;
    const std::string bits =
        std::isnan(total.bits_per_byte()) ? "unknown" : fmt::format("{:.4f}", total.bits_per_byte());
    table += fmt::format("{:>9}  {:9} {:>11} {:>9.4f} {:>11.3f} {:>10} {:>9.0f}\n", row.context,
                         row.retriever, total.tokens, total.loss(), total.perplexity(), bits,
                         static_cast<double>(total.tokens) / row.perplexity.seconds);
  }
  if (const int64_t ends = rows.front().perplexity.end_tokens; ends > 0)
    table += counted(ends, "end token") + " predicted and counted, standing for no byte\n";
  if (left_out > 0) table += counted(left_out, "token") + " left out by --max-tokens\n";
  return table + position_table(rows);
}

void eval_perplexity(const EvalOptions& options, const model::TextModel& model, parallel::Communicator* ranks,
                     JsonReport& report) {
  EvalTexts texts;
  std::vector<std::string> retrievers;
  parallel::succeed_together(ranks, [&] {
    texts = open_documents(options, model, is_writer(ranks));
    require_stride_within(options.stride, texts.contexts);
    retrievers = retrievers_of(options, model.model.config());
  });
  require_same_texts(ranks, texts.documents);
  const std::vector<eval::EvalDocument>& documents = texts.documents;
  const std::vector<int64_t>& contexts = texts.contexts;
  if (is_writer(ranks)) tell_where_nothing_is_retrieved(model.model.config(), contexts, retrievers);

  // The same text for every context: spans of the longest, which the shorter ones cut further.
  const int64_t longest = *std::max_element(contexts.begin(), contexts.end());
  const std::vector<eval::EvalSpan> spans = eval::choose_eval_spans(documents, longest, options.max_tokens);
  int64_t tokens = 0;
  int64_t chosen = 0;
  for (const eval::EvalDocument& document : documents) tokens += document.tokens;
  for (const eval::EvalSpan& span : spans) chosen += span.tokens;
  const std::vector<EvalRow> rows = measure(options, model, documents, spans, contexts, retrievers, ranks);
  if (!is_writer(ranks)) return;
  if (rows.front().perplexity.total.tokens == 0)
    fail_usage(options.data.empty() ? "INPUT" : "--data " + options.data, "has no token to predict",
               "give a text of two tokens or more");

  const int64_t unknown_tokens = rows.front().perplexity.unknown_tokens;
  if (unknown_tokens > 0)
    fmt::print(stderr, "{} for text that the tokenizer of {} cannot give back: no bits per byte\n",
               counted(unknown_tokens, "unknown token"), model.folder);

  report.config["max_tokens"] = options.max_tokens;
  report.config["stride"] = options.stride;
  report.config["memory"] = options.memory;
  report.config["memory_dtype"] = options.memory_dtype;
  report.result["documents"] = documents.size();
  report.result["text_tokens"] = chosen;
  report.result["left_out_tokens"] = tokens - chosen;
  report.result["unknown_tokens"] = unknown_tokens;
  report.result["end_tokens"] = rows.front().perplexity.end_tokens;
  report.result["contexts"] = nlohmann::ordered_json::array();
  report.result["positions"] = nlohmann::ordered_json::array();
  for (const EvalRow& row : rows) {
    report.result["contexts"].push_back(context_to_json(row, documents));
    for (const eval::PositionBucket& position : row.perplexity.positions)
      report.result["positions"].push_back(position_to_json(row, position));
  }
  finish_report(report, options.common, "", table_of(rows, tokens - chosen));
}

}  // namespace

namespace {

void eval_as_rank(EvalOptions options, parallel::Communicator* ranks) {
  require_same_command(ranks);
  if (!is_writer(ranks)) be_silent(options.common);
  options.memory = memory_of_rank(options.memory, ranks);
  std::optional<JsonReport> report;
  std::unique_ptr<const model::TextModel> model;
  parallel::succeed_together(ranks, [&] {
    check_options(options);
    report = begin_tensor_report("eval", options.common, options.checkpoint.tensor);
    require_free_memory_place(options.memory);
    model.reset(new model::TextModel(
        open_checkpoint(options.checkpoint, options.common, parallel::rank_environment().local_rank)));
  });
  if (ranks != nullptr)
    parallel::require_same(*ranks, {{"checkpoint", model::model_fingerprint(model->model)}});
  report->config = checkpoint_config(options.checkpoint, *model);
  report->config["data"] = options.data;
  report->config["inputs"] = options.inputs;
  report->config["split"] = options.split;
  report->result["task"] = options.task;
  if (options.task != tasks::kPerplexityTask)
    eval_planted(options, *model, ranks, *report);
  else if (!options.kv_policies.empty())
    eval_answers(options, *model, ranks, *report);
  else
    eval_perplexity(options, *model, ranks, *report);
}

}  // namespace

void run_eval(const EvalOptions& options) {
  install_interrupt_handler();
  as_rank(options.timeout_seconds, [&](parallel::Communicator* ranks) { eval_as_rank(options, ranks); });
}

}  // namespace gca::app
