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
  std::string task = "", data = "", retriever = "", context = "", from = "", to = "", depth = "", step = "",
              tokens = "", seconds = "", trials = "";
};

class CsvWriter {
 public:
  CsvWriter(const std::string& settings, const RunResults& run, std::string& out)
      : head_(quoted(run.name) + "," + quoted(run.path) + "," + quoted(settings) + "," +
              std::to_string(run.seed)),
        out_(out) {}

  /// Numbers that are not known are left out.
  void add(const char* quantity, double value, const Place& place) const {
    if (!std::isfinite(value)) return;
    out_ += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", head_, quantity, quoted(place.task),
                        quoted(place.data), quoted(place.retriever), place.context, place.from, place.to,
                        place.depth, place.step, place.tokens, place.seconds, place.trials, value);
  }

 private:
  std::string head_;
  std::string& out_;
};

std::string number_or_nothing(double x) {
  return std::isfinite(x) ? fmt::format("{}", x) : "";
}

/// Where a step or a validation stands in the training.
template <class Point>
Place place_of(const Point& point) {
  return {.step = std::to_string(point.step),
          .tokens = std::to_string(point.tokens),
          .seconds = number_or_nothing(point.seconds)};
}

void add_training(const RunResults& run, const CsvWriter& csv) {
  for (const TrainPoint& point : run.train) {
    const Place place = place_of(point);
    csv.add("train_loss", point.loss, place);
    csv.add("train_tokens_per_second", point.tokens_per_second, place);
    csv.add("train_spread", point.spread, place);
    csv.add("train_entropy", point.entropy, place);
    csv.add("train_mean_distance", point.mean_distance, place);
  }
  for (const ValidPoint& point : run.valid) {
    Place place = place_of(point);
    place.task = point.task;
    csv.add("valid_loss", point.loss, place);
    csv.add("valid_bits_per_byte", point.bits_per_byte, place);
    csv.add("valid_accuracy", point.accuracy, place);
    csv.add("reading_spread", point.reading.spread, place);
    const auto add_reading = [&](const char* retriever, double loss) {
      place.retriever = retriever;
      csv.add("reading_loss", loss, place);
    };
    add_reading("learned", point.reading.learned);
    add_reading("random", point.reading.random);
    add_reading("none", point.reading.none);
  }
}

void add_evaluations(const RunResults& run, const CsvWriter& csv) {
  for (const ContextLoss& loss : run.contexts) {
    const Place place{
        .data = loss.data, .retriever = loss.retriever, .context = std::to_string(loss.context)};
    csv.add("context_loss", loss.loss, place);
    csv.add("perplexity", loss.perplexity, place);
    csv.add("bits_per_byte", loss.bits_per_byte, place);
  }
  for (const ReportedPositionLoss& loss : run.positions)
    csv.add("position_loss", loss.loss,
            {.data = loss.data,
             .retriever = loss.retriever,
             .context = std::to_string(loss.context),
             .from = std::to_string(loss.from),
             .to = std::to_string(loss.to)});
  for (const Recall& recall : run.recalls)
    if (recall.trials > 0)
      csv.add("accuracy", static_cast<double>(recall.correct) / static_cast<double>(recall.trials),
              {.task = recall.task,
               .data = recall.data,
               .retriever = recall.retriever,
               .context = std::to_string(recall.context),
               .depth = number_or_nothing(recall.depth),
               .trials = std::to_string(recall.trials)});
  for (const Speed& speed : run.speeds)
    csv.add("benchmark_tokens_per_second", speed.tokens_per_second,
            {.task = speed.mode, .context = std::to_string(speed.context)});
}

}  // namespace

std::string report_csv(const Comparison& comparison) {
  std::string text =
      "run,path,settings,seed,quantity,task,data,retriever,context,from,to,depth,step,tokens,seconds,trials,"
      "value\n";
  for (const RunGroup& group : comparison.groups)
    for (const RunResults* run : group.runs) {
      const CsvWriter csv(settings_text(comparison, group), *run, text);
      add_training(*run, csv);
      add_evaluations(*run, csv);
    }
  return text;
}

}  // namespace gca::report
