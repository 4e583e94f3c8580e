#include "lib/report/report_csv.h"

#include <cmath>

#include <fmt/format.h>

namespace gca::report {
namespace {

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? "\"\"" : std::string(1, c);
  return result + "\"";
}

/// What distinguishes one number from another of the same run.
struct Place {
  std::string task = "", retriever = "", context = "", from = "", to = "", depth = "", step = "", tokens = "",
              trials = "";
};

class CsvWriter {
 public:
  CsvWriter(const RunGroup& group, const RunResults& run, std::string& out)
      : head_(quoted(run.name) + "," + quoted(group.label) + "," + std::to_string(run.seed)), out_(out) {}

  /// Numbers that are not known are left out.
  void add(const char* quantity, double value, const Place& place) const {
    if (!std::isfinite(value)) return;
    out_ += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{}\n", head_, quantity, quoted(place.task),
                        quoted(place.retriever), place.context, place.from, place.to, place.depth, place.step,
                        place.tokens, place.trials, value);
  }

 private:
  std::string head_;
  std::string& out_;
};

void add_run(const RunResults& run, const CsvWriter& csv) {
  const auto add_losses = [&](const char* quantity, const std::vector<LossPoint>& losses) {
    for (const LossPoint& point : losses)
      csv.add(quantity, point.loss,
              {.step = std::to_string(point.step), .tokens = std::to_string(point.tokens)});
  };
  add_losses("train_loss", run.train);
  add_losses("valid_loss", run.valid);
  for (const ContextLoss& loss : run.contexts) {
    const Place place{.retriever = loss.retriever, .context = std::to_string(loss.context)};
    csv.add("context_loss", loss.loss, place);
    csv.add("perplexity", loss.perplexity, place);
    csv.add("bits_per_byte", loss.bits_per_byte, place);
  }
  for (const ReportedPositionLoss& loss : run.positions)
    csv.add("position_loss", loss.loss,
            {.retriever = loss.retriever,
             .context = std::to_string(loss.context),
             .from = std::to_string(loss.from),
             .to = std::to_string(loss.to)});
  for (const Recall& recall : run.recalls)
    if (recall.trials > 0)
      csv.add("accuracy", static_cast<double>(recall.correct) / static_cast<double>(recall.trials),
              {.task = recall.task,
               .retriever = recall.retriever,
               .context = std::to_string(recall.context),
               .depth = std::isnan(recall.depth) ? "" : fmt::format("{}", recall.depth),
               .trials = std::to_string(recall.trials)});
}

}  // namespace

std::string report_csv(std::span<const RunGroup> groups) {
  std::string text =
      "run,settings,seed,quantity,task,retriever,context,from,to,depth,step,tokens,trials,value\n";
  for (const RunGroup& group : groups)
    for (const RunResults* run : group.runs) add_run(*run, CsvWriter(group, *run, text));
  return text;
}

}  // namespace gca::report
