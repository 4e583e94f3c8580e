#include "apps/gca-tensor/eval_planted.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "apps/gca-tensor/eval_texts.h"
#include "apps/gca-tensor/policy_reading.h"
#include "apps/gca-tensor/ranks.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/process/interrupt.h"
#include "lib/core/error.h"
#include "lib/eval/task_accuracy.h"
#include "lib/eval/trial_reader.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/text_feeder.h"
#include "lib/parallel/agreement.h"
#include "lib/tasks/share.h"
#include "lib/tasks/task_kinds.h"

namespace gca::app {
namespace {

using Json = nlohmann::ordered_json;

/// Tokens that are read for haystacks of their own before trials share them.
constexpr int64_t kReadTokens = int64_t{4} << 20;

data::Haystack open_haystack(const EvalOptions& options, const model::TextModel& model, bool tells) {
  if (options.data.empty()) {
    std::vector<int32_t> tokens;
    for (const eval::EvalDocument& document : encode_inputs(options, model, tells)) {
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

/// One measurement: a context with a retriever, or with a cache policy.
struct Cell {
  int64_t context = 0;
  std::string retriever;
  std::string kv_policy = {};

  const std::string& name() const { return kv_policy.empty() ? retriever : kv_policy; }
};

eval::PrefillOptions reading_of(const EvalOptions& options, const model::TextModel& model, const Cell& cell) {
  eval::PrefillOptions reading;
  reading.forward.retriever = retriever_of(cell.retriever);
  reading.forward.seed = options.common.seed;
  reading.start_tokens = model.start_tokens;
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

/// What was measured, and what only one way of reading has to tell.
struct Measured {
  eval::TaskAccuracy accuracy;
  Json reading;
  std::string cost = {};  ///< columns
};

class CellMeasurement {
 public:
  CellMeasurement(const EvalOptions& options, const model::TextModel& model, const data::Haystack& haystack,
                  const Cell& cell, parallel::Communicator* ranks)
      : options_(options), model_(model), haystack_(haystack), cell_(cell), ranks_(ranks) {}

  Measured measure(tasks::TaskTrials& trials) const {
    return cell_.kv_policy.empty() ? prefilled(trials) : under_policy(trials);
  }

 private:
  Measured prefilled(tasks::TaskTrials& trials) const {
    const bool patched =
        model::backbone_kind(model_.model.config()).keeps_chunk_memory && !options_.full_prefill;
    const eval::PrefillOptions reading = reading_of(options_, model_, cell_);
    const auto prefill = patched ? eval::patched_prefill(model_.model, haystack_, reading)
                                 : eval::plain_prefill(model_.model, haystack_, reading);
    const std::vector<uint8_t> allowed = model_.text_ids();
    eval::PrefilledTrialReader reader(model_.model, haystack_, *prefill, allowed);
    Measured measured{run(trials, reader), {}};
    measured.reading = {{"prefill", patched ? "patched" : "full"},
                        {"seconds", measured.accuracy.seconds},
                        {"haystack_seconds", prefill->shared_seconds()}};
    return measured;
  }

  Measured under_policy(tasks::TaskTrials& trials) const {
    eval::PolicyReader policy = policy_reader(options_, model_, cell_.kv_policy);
    const std::vector<uint8_t> allowed = model_.text_ids();
    eval::PolicyTrialReader reader(haystack_, policy, allowed);
    Measured measured{run(trials, reader), {}};
    measured.reading = {{"prefill", "full"},
                        {"seconds", measured.accuracy.seconds},
                        {"haystack_seconds", 0.0},
                        {"kv_policy", cell_.kv_policy}};
    measured.reading.update(step_cost_to_json(policy.cost()));
    measured.cost = step_cost_text(policy.cost()) + "  ";
    return measured;
  }

  eval::TaskAccuracy run(tasks::TaskTrials& trials, eval::TrialReader& reader) const {
    const eval::TrialPlan plan{options_.trials, haystacks_of(options_, cell_.context), ranks_};
    const bool shows = shows_progress(options_.common);
    return eval::measure_task(
        trials, haystack_.token_count(), reader, plan, [&](const eval::TaskAccuracy& so_far) {
          throw_if_interrupted();
          if (!shows) return;
          fmt::print(stderr, "\rcontext {}  {}  {} of {} trials, {} right ", cell_.context, cell_.name(),
                     so_far.trials, options_.trials, so_far.correct);
          if (so_far.trials == options_.trials) fmt::print(stderr, "\r\033[K");
        });
  }

  const EvalOptions& options_;
  const model::TextModel& model_;
  const data::Haystack& haystack_;
  const Cell& cell_;
  parallel::Communicator* ranks_;
};

/// Adds a cell to the report and gives its line of the table, below the heading where it is the first.
std::string show_cell(const EvalOptions& options, const Cell& cell, tasks::TaskTrials& trials,
                      const Measured& measured, Json& result, Json& config) {
  const eval::TaskAccuracy& accuracy = measured.accuracy;

  Json row{{"context", cell.context}, {"retriever", cell.retriever}, {"trials", accuracy.trials}};
  row.update(tasks::share_to_json(accuracy.correct, accuracy.trials));
  row.update(trials.to_json());
  row["text_tokens"] = accuracy.text_tokens;
  row["haystacks"] = haystacks_of(options, cell.context);
  row.update(measured.reading);
  std::string lines;
  if (result["contexts"].empty())
    lines =
        fmt::format("{:>9}  {:9} {:>7}  {}{}\n", "context", cell.kv_policy.empty() ? "retriever" : "policy",
                    "trials", cell.kv_policy.empty() ? "" : step_cost_head() + "  ", trials.head());
  lines += fmt::format("{:>9}  {:9} {:>7}  {}{}\n", cell.context, cell.name(), accuracy.trials, measured.cost,
                       trials.row());
  result["contexts"].push_back(std::move(row));
  for (const eval::DepthCount& depth : accuracy.depths) {
    Json tenth = {{"context", cell.context}, {"retriever", cell.retriever}};
    if (!cell.kv_policy.empty()) tenth["kv_policy"] = cell.kv_policy;
    tenth.update({{"depth", depth.depth}, {"trials", depth.trials}, {"correct", depth.correct}});
    result["depths"].push_back(std::move(tenth));
  }
  config.update(trials.config());
  return lines;
}

/// Each context with each retriever, or with each policy.
std::vector<Cell> cells_of(const EvalOptions& options, const model::ModelConfig& config) {
  std::vector<Cell> cells;
  for (const int64_t context : options.contexts) {
    if (options.kv_policies.empty())
      for (const std::string& retriever : retrievers_of(options, config))
        cells.push_back({context, retriever});
    for (const std::string& policy : options.kv_policies) cells.push_back({context, "none", policy});
  }
  return cells;
}

/// "--value-tokens" is "value_tokens" in a report.
std::string report_name(const tasks::TaskSetting& setting) {
  std::string name = std::string(setting.flag).substr(2);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace

void eval_planted(const EvalOptions& options, const model::TextModel& model, parallel::Communicator* ranks,
                  JsonReport& report) {
  const tasks::TaskKind& kind = *tasks::find_task_kind(options.task);
  data::Haystack haystack;
  std::vector<Cell> cells;
  std::vector<std::unique_ptr<tasks::TaskTrials>> trials;  // of each cell
  parallel::succeed_together(ranks, [&] {
    if (options.contexts.empty())
      fail_usage("--context", "is missing", "give one or more, such as --context 4K,64K");
    if (options.trials < 1) fail_usage("--trials", "0 trials measure nothing", "give 1 or more");
    tasks::validate_task_settings(options.task_settings, tasks::eval_settings(kind),
                                  tasks::SettingNames::flags, "");
    model::require_choice_without_vectors(model.model.config(), "--checkpoint " + model.folder,
                                          "a text of task " + options.task);
    haystack = open_haystack(options, model, is_writer(ranks));
    cells = cells_of(options, model.model.config());
    for (const Cell& cell : cells) {
      trials.push_back(kind.make_trials(site_of(options, model, cell.context), haystack));
      if (!cell.kv_policy.empty()) policy_reader(options, model, cell.kv_policy);  // can it be?
    }
  });
  if (ranks != nullptr) parallel::require_same(*ranks, {{"text", std::to_string(haystack.token_count())}});
  report.config["trials"] = options.trials;
  report.config["memory"] = options.memory;
  report.config["memory_dtype"] = options.memory_dtype;
  if (!options.kv_policies.empty()) {
    report.config["kv_policies"] = policies_to_json(options.kv_policies, options.kv_settings);
    report.config["kv_dtype"] = resolved_kv_dtype(options.checkpoint.tensor);
  }
  for (const tasks::TaskSetting* setting : tasks::eval_settings(kind))
    report.config[report_name(*setting)] = options.task_settings.to_json(*setting);
  report.result["haystack_tokens"] = haystack.token_count();
  report.result["contexts"] = Json::array();
  report.result["depths"] = Json::array();
  std::string table;
  for (size_t i = 0; i < cells.size(); ++i) {
    const Measured measured = CellMeasurement(options, model, haystack, cells[i], ranks).measure(*trials[i]);
    if (is_writer(ranks))
      table += show_cell(options, cells[i], *trials[i], measured, report.result, report.config);
  }
  if (is_writer(ranks)) finish_report(report, options.common, "", table);
}

}  // namespace gca::app
