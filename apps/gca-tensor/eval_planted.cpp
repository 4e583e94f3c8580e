#include "apps/gca-tensor/eval_planted.h"

#include <algorithm>

#include <fmt/format.h>

#include "apps/gca-tensor/eval_texts.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/process/interrupt.h"
#include "lib/core/error.h"
#include "lib/eval/task_accuracy.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/text_feeder.h"
#include "lib/tasks/share.h"
#include "lib/tasks/task_kinds.h"

namespace gca::app {
namespace {

using Json = nlohmann::ordered_json;

/// Tokens that are read for haystacks of their own before trials share them.
constexpr int64_t kReadTokens = int64_t{4} << 20;

data::Haystack open_haystack(const EvalOptions& options, const model::TextModel& model) {
  if (options.data.empty()) {
    std::vector<int32_t> tokens;
    for (const eval::EvalDocument& document : encode_inputs(options, model)) {
      const size_t before = tokens.size();
      tokens.resize(before + static_cast<size_t>(document.tokens));
      document.read(0, std::span(tokens).subspan(before));
    }
    return data::Haystack::of(std::move(tokens), "INPUT");
  }
  const auto data = open_data(options, model);
  if (const auto* tokens = std::get_if<data::TokenStore>(&data)) return data::Haystack::of(*tokens);
  const auto& index = std::get<data::SequenceIndex>(data);
  return data::Haystack::of(index, eval::entries_of(index, split_of(options)));
}

tasks::TaskSite site_of(const EvalOptions& options, const model::TextModel& model, int64_t context) {
  const model::ModelConfig& config = model.model.config();
  tasks::TaskSite site;
  site.settings = options.task_settings;
  site.names = tasks::SettingNames::flags;
  site.layout = model::chunk_layout_of(config);
  site.chunk_text = config.chunk_text_size();
  site.context = context;
  site.tokenizer = &model.tokenizer;
  site.ids = model.tokenizer.piece_count();
  if (model::backbone_kind(config).keeps_chunk_memory) {
    site.retrieval_groups = config.retrieval_groups;
    site.chunk_top_k = config.chunk_top_k;
  }
  site.seed = options.common.seed;
  return site;
}

int64_t haystacks_of(const EvalOptions& options, int64_t context) {
  if (options.haystacks > 0) return std::min(options.haystacks, options.trials);
  return std::clamp<int64_t>(kReadTokens / context, 1, options.trials);
}

/// One measurement: a context with a retriever.
struct Cell {
  int64_t context = 0;
  std::string retriever;
};

eval::PrefillOptions reading_of(const EvalOptions& options, const Cell& cell) {
  eval::PrefillOptions reading;
  reading.forward.retriever = retriever_of(cell.retriever);
  reading.forward.seed = options.common.seed;
  reading.segment_positions = options.segment_positions;
  reading.memory = model::MemoryPlace::of(options.memory, options.memory_dtype);
  reading.threads = thread_count(options.common);
  reading.progress = [&options, context = cell.context](int64_t tokens) {
    throw_if_interrupted();
    if (shows_progress(options.common) && tokens >= (1 << 20))
      fmt::print(stderr, "\rcontext {}  {:.1f}M tokens read ", context,
                 static_cast<double>(tokens) / (1 << 20));
  };
  return reading;
}

/// Measures one cell, adds it to the report and gives its line of the table, below the heading where it is
/// the first.
std::string measure_cell(const EvalOptions& options, const model::TextModel& model,
                         const tasks::TaskKind& kind, const data::Haystack& haystack, const Cell& cell,
                         Json& result, Json& config) {
  const bool patched = model::backbone_kind(model.model.config()).keeps_chunk_memory && !options.full_prefill;
  const eval::PrefillOptions reading = reading_of(options, cell);
  const auto prefill = patched ? eval::patched_prefill(model.model, haystack, reading)
                               : eval::plain_prefill(model.model, haystack, reading);
  const auto trials = kind.make_trials(site_of(options, model, cell.context), haystack);
  const eval::TrialPlan plan{options.trials, haystacks_of(options, cell.context)};
  const bool shows = shows_progress(options.common);
  const eval::TaskAccuracy measured =
      eval::measure_task(model.model, *trials, haystack, *prefill, plan, model.text_ids(),
                         [&](const eval::TaskAccuracy& so_far) {
                           throw_if_interrupted();
                           if (!shows) return;
                           fmt::print(stderr, "\rcontext {}  {}  {} of {} trials, {} right ", cell.context,
                                      cell.retriever, so_far.trials, options.trials, so_far.correct);
                           if (so_far.trials == options.trials) fmt::print(stderr, "\r\033[K");
                         });

  Json row{{"context", cell.context}, {"retriever", cell.retriever}, {"trials", measured.trials}};
  row.update(tasks::share_to_json(measured.correct, measured.trials));
  row.update(trials->to_json());
  row["text_tokens"] = measured.text_tokens;
  row["haystacks"] = plan.haystacks;
  row["prefill"] = patched ? "patched" : "full";
  row["seconds"] = measured.seconds;
  row["haystack_seconds"] = prefill->shared_seconds();
  std::string lines;
  if (result["contexts"].empty())
    lines = fmt::format("{:>9}  {:9} {:>7}  {}\n", "context", "retriever", "trials", trials->head());
  lines +=
      fmt::format("{:>9}  {:9} {:>7}  {}\n", cell.context, cell.retriever, measured.trials, trials->row());
  result["contexts"].push_back(std::move(row));
  for (const eval::DepthCount& depth : measured.depths)
    result["depths"].push_back({{"context", cell.context},
                                {"retriever", cell.retriever},
                                {"depth", depth.depth},
                                {"trials", depth.trials},
                                {"correct", depth.correct}});
  config.update(trials->config());
  return lines;
}

/// "--value-tokens" is "value_tokens" in a report.
std::string report_name(const tasks::TaskSetting& setting) {
  std::string name = std::string(setting.flag).substr(2);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace

void eval_planted(const EvalOptions& options, const model::TextModel& model, JsonReport& report) {
  const tasks::TaskKind& kind = *tasks::find_task_kind(options.task);
  if (options.contexts.empty())
    fail_usage("--context", "is missing", "give one or more, such as --context 4K,64K");
  if (options.trials < 1) fail_usage("--trials", "0 trials measure nothing", "give 1 or more");
  tasks::validate_task_settings(options.task_settings, tasks::eval_settings(kind), tasks::SettingNames::flags,
                                "");
  const data::Haystack haystack = open_haystack(options, model);
  report.config["trials"] = options.trials;
  report.config["memory"] = options.memory;
  report.config["memory_dtype"] = options.memory_dtype;
  for (const tasks::TaskSetting* setting : tasks::eval_settings(kind))
    report.config[report_name(*setting)] = options.task_settings.to_json(*setting);
  report.result["haystack_tokens"] = haystack.token_count();
  report.result["contexts"] = Json::array();
  report.result["depths"] = Json::array();
  std::string table;
  for (const int64_t context : options.contexts)
    for (const std::string& retriever : retrievers_of(options, model.model.config()))
      table +=
          measure_cell(options, model, kind, haystack, {context, retriever}, report.result, report.config);
  finish_report(report, options.common, "", table);
}

}  // namespace gca::app
