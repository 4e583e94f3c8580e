// gca report: several runs on one page, or as one table.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/process/result_files.h"
#include "lib/report/report_csv.h"
#include "lib/report/report_page.h"
#include "lib/report/report_table.h"
#include "lib/report/runs/group_summary.h"
#include "lib/report/runs/read_runs.h"

namespace gca::app {
namespace {

struct ReportOptions {
  CommonOptions common;
  std::vector<std::string> runs;
  std::vector<std::string> labels;
  std::string html_path;
  std::string csv_path;
};

nlohmann::ordered_json spread_to_json(const report::Spread& spread) {
  return {{"mean", spread.mean}, {"low", spread.low}, {"high", spread.high}};
}

nlohmann::ordered_json run_to_json(const report::RunResults& run) {
  const report::ValidPoint* last = report::last_validation(run);
  nlohmann::ordered_json json = {{"run", run.name},
                                 {"path", run.path},
                                 {"seed", run.seed},
                                 {"parameters", run.parameters},
                                 {"steps", run.steps},
                                 {"planned_steps", run.planned_steps},
                                 {"tokens", run.tokens},
                                 {"has_ended", run.has_ended},
                                 {"train_seconds", report::training_seconds(run)},
                                 {"tokens_per_second", report::training_speed(run)},
                                 {"valid_loss", last == nullptr ? report::kUnknownNumber : last->loss}};
  json["valid_bits_per_byte"] = last == nullptr ? report::kUnknownNumber : last->bits_per_byte;
  return json;
}

nlohmann::ordered_json group_to_json(const report::Comparison& comparison, const report::RunGroup& group) {
  const report::GroupSummary summary = report::summarise(group);
  nlohmann::ordered_json json = {{"name", group.name},
                                 {"settings", report::settings_text(comparison, group)}};
  json["differences"] = nlohmann::ordered_json::object();
  for (size_t i = 0; i < comparison.settings.size(); ++i)
    if (!group.values[i].empty()) json["differences"][comparison.settings[i]] = group.values[i];
  json["valid_loss"] = spread_to_json(summary.loss);
  json["valid_bits_per_byte"] = spread_to_json(summary.bits_per_byte);
  json["reading_gain"] = spread_to_json(summary.of_reading);
  json["choice_gain"] = spread_to_json(summary.of_choice);
  json["runs"] = nlohmann::ordered_json::array();
  for (const report::RunResults* run : group.runs) json["runs"].push_back(run_to_json(*run));
  return json;
}

void run_report(const ReportOptions& options) {
  JsonReport report = begin_report("report", options.common);
  if (!options.html_path.empty()) require_writable_file("--html", options.html_path);
  if (!options.csv_path.empty()) require_writable_file("--csv", options.csv_path);
  const std::vector<report::RunResults> runs = report::read_runs(options.runs, options.labels);
  const report::Comparison comparison = report::compare_runs(runs);
  std::string shown = report::report_table(comparison);
  std::vector<ResultFile> files;
  if (!options.html_path.empty()) files.push_back({options.html_path, report::report_page(comparison)});
  if (!options.csv_path.empty()) files.push_back({options.csv_path, report::report_csv(comparison)});
  for (const ResultFile& file : files) shown += file.path + "\n";
  report.config = {{"runs", options.runs},
                   {"labels", options.labels},
                   {"html", options.html_path},
                   {"csv", options.csv_path}};
  report.result["groups"] = nlohmann::ordered_json::array();
  for (const report::RunGroup& group : comparison.groups)
    report.result["groups"].push_back(group_to_json(comparison, group));
  finish_report_with_files(report, options.common, "", shown, files);
}

}  // namespace

void add_report_command(CLI::App& app) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = app.add_subcommand("report", "Compare runs on one page");
  command
      ->add_option(
          "RUN", options->runs,
          "Output folders of gca pretrain, with any reports of gca eval and gca bench in them, or single "
          "reports; runs may still be going on")
      ->required();
  command
      ->add_option(
          "--label", options->labels,
          "What a run is called, instead of the name of its folder: one for each run, in their order, or "
          "NAME=LABEL with the name or path of a run; may be given several times")
      ->type_name("LABEL")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--html", options->html_path,
                   "Write a self-contained page for a browser: what differs between the runs, and charts of "
                   "losses, of what "
                   "reading gains, of context and position, tasks and speed")
      ->type_name("FILE");
  command->add_option("--csv", options->csv_path, "Write every number as one row of a CSV file")
      ->type_name("FILE");
  add_common_options(*command, options->common);
  command->callback([options] { run_report(*options); });
}

}  // namespace gca::app
