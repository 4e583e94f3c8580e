#include "lib/report/runs/read_metrics.h"

#include <algorithm>
#include <sstream>

#include "lib/core/json/json_number.h"
#include "lib/report/runs/json_entries.h"

namespace gca::report {
namespace {

using nlohmann::json;

/// The mean of `key` over the groups of a step; NaN where it was not measured.
double mean_over_groups(const json& entry, const char* key) {
  const auto groups = entry.find("retrieval");
  if (groups == entry.end() || groups->empty()) return kUnknownNumber;
  double sum = 0;
  for (const json& group : *groups) sum += number_of(group, key);
  return sum / static_cast<double>(groups->size());
}

TrainPoint train_point(const json& entry) {
  TrainPoint point;
  point.step = whole_number(entry.at("step"));
  point.tokens = whole_number(entry.at("tokens"));
  point.loss = number_of(entry, "loss");
  point.tokens_per_second = number_of(entry, "tokens_per_second");
  point.spread = mean_over_groups(entry, "spread");
  point.entropy = mean_over_groups(entry, "entropy");
  point.mean_distance = mean_over_groups(entry, "mean_distance");
  return point;
}

/// Each step took its tokens divided by its speed. Where the first steps are not here (a branch), no time is
/// known, nor after a step whose speed is not.
void add_times(RunResults& run) {
  double seconds = !run.train.empty() && run.train.front().step == 1 ? 0.0 : kUnknownNumber;
  int64_t tokens = 0;
  auto valid = run.valid.begin();
  const auto pass_validations_before = [&](int64_t step) {
    for (; valid != run.valid.end() && valid->step < step; ++valid)
      valid->seconds = valid->step == 0 ? 0.0 : seconds;
  };
  for (TrainPoint& point : run.train) {
    pass_validations_before(point.step);
    seconds += static_cast<double>(point.tokens - tokens) / point.tokens_per_second;
    tokens = point.tokens;
    point.seconds = seconds;
  }
  pass_validations_before(std::numeric_limits<int64_t>::max());
}

}  // namespace

ValidPoint valid_point(const json& entry) {
  ValidPoint point;
  point.step = whole_number(entry.at("step"));
  point.tokens = whole_number(entry.at("tokens"));
  point.loss = number_of(entry, "loss");
  point.bits_per_byte = number_of(entry, "bits_per_byte");
  point.accuracy = number_of(entry, "accuracy");
  if (entry.contains("copy_accuracy")) point.accuracy = number_of(entry, "copy_accuracy");
  point.task = text_of(entry, "task", "");
  if (const auto reading = entry.find("reading"); reading != entry.end())
    point.reading = {number_of(*reading, "learned"), number_of(*reading, "random"),
                     number_of(*reading, "none"), number_of(*reading, "spread")};
  return point;
}

void merge_validations(const json& list, RunResults& run) {
  for (const json& entry : list) {
    ValidPoint point = valid_point(entry);
    const bool is_known = std::any_of(run.valid.begin(), run.valid.end(), [&](const ValidPoint& known) {
      return known.step == point.step && known.task == point.task;
    });
    if (!is_known) run.valid.push_back(std::move(point));
  }
  std::stable_sort(run.valid.begin(), run.valid.end(),
                   [](const ValidPoint& a, const ValidPoint& b) { return a.step < b.step; });
}

void read_metrics(const std::string& text, RunResults& run) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!entry.is_object()) continue;
    if (entry.contains("valid"))
      run.valid.push_back(valid_point(entry["valid"]));
    else if (entry.contains("loss"))  // other lines tell what was changed
      run.train.push_back(train_point(entry));
  }
  add_times(run);
  for (const TrainPoint& point : run.train) {
    run.steps = std::max(run.steps, point.step);
    run.tokens = std::max(run.tokens, point.tokens);
  }
}

}  // namespace gca::report
