// gca report: several runs on one page, or as one table.

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/process/result_files.h"
#include "lib/report/report_csv.h"
#include "lib/report/report_page.h"

namespace gca::app {
namespace {

struct ReportOptions {
  CommonOptions common;
  std::vector<std::string> runs;
  std::string html_path;
  std::string csv_path;
};

nlohmann::ordered_json group_to_json(const report::RunGroup& group) {
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  std::vector<double> losses;
  for (const report::RunResults* run : group.runs) {
    const double loss = run->valid.empty() ? report::kUnknownNumber : run->valid.back().loss;
    losses.push_back(loss);
    runs.push_back({{"run", run->name},
                    {"seed", run->seed},
                    {"parameters", run->parameters},
                    {"steps", run->train.empty() ? 0 : run->train.back().step},
                    {"valid_loss", loss}});
  }
  const report::Spread loss = report::spread_of(losses);
  return {{"settings", group.label},
          {"valid_loss", {{"mean", loss.mean}, {"low", loss.low}, {"high", loss.high}}},
          {"runs", std::move(runs)}};
}

void run_report(const ReportOptions& options) {
  JsonReport report = begin_report("report", options.common);
  if (!options.html_path.empty()) require_writable_file("--html", options.html_path);
  if (!options.csv_path.empty()) require_writable_file("--csv", options.csv_path);
  const std::vector<report::RunResults> runs = report::read_runs(options.runs);
  const std::vector<report::RunGroup> groups = report::group_runs(runs);
  std::string shown = report::report_table(groups);
  std::vector<ResultFile> files;
  if (!options.html_path.empty()) files.push_back({options.html_path, report::report_page(groups)});
  if (!options.csv_path.empty()) files.push_back({options.csv_path, report::report_csv(groups)});
  for (const ResultFile& file : files) shown += file.path + "\n";
  report.config = {{"runs", options.runs}, {"html", options.html_path}, {"csv", options.csv_path}};
  report.result["groups"] = nlohmann::ordered_json::array();
  for (const report::RunGroup& group : groups) report.result["groups"].push_back(group_to_json(group));
  finish_report_with_files(report, options.common, "", shown, files);
}

}  // namespace

void add_report_command(CLI::App& app) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = app.add_subcommand("report", "Compare runs on one page");
  command
      ->add_option("RUN", options->runs,
                   "Output folders of gca pretrain, with any reports of gca eval in them, or single reports")
      ->required();
  command
      ->add_option(
          "--html", options->html_path,
          "Write a self-contained page for a browser: losses, perplexity by context and position, and "
          "accuracy by length and depth")
      ->type_name("FILE");
  command->add_option("--csv", options->csv_path, "Write every number as one row of a CSV file")
      ->type_name("FILE");
  add_common_options(*command, options->common);
  command->callback([options] { run_report(*options); });
}

}  // namespace gca::app
