#include "lib/report/runs/group_summary.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

namespace gca::report {
namespace {

/// The last that was measured; a validation of another task has none.
const ReadingLosses* last_reading(const RunResults& run) {
  const auto found = std::find_if(run.valid.rbegin(), run.valid.rend(), [](const ValidPoint& point) {
    return std::isfinite(point.reading.learned);
  });
  return found == run.valid.rend() ? nullptr : &found->reading;
}

std::vector<ContextSummary> summarise_contexts(const RunGroup& group) {
  std::map<std::tuple<std::string, std::string, int64_t>, std::pair<std::vector<double>, std::vector<double>>>
      measured;
  for (const RunResults* run : group.runs)
    for (const ContextLoss& loss : run->contexts) {
      auto& [losses, bits] = measured[{loss.data, loss.retriever, loss.context}];
      losses.push_back(loss.loss);
      bits.push_back(loss.bits_per_byte);
    }
  std::vector<ContextSummary> contexts;
  for (const auto& [key, values] : measured) {
    const auto& [data, retriever, context] = key;
    contexts.push_back({data, retriever, context, spread_of(values.first), spread_of(values.second)});
  }
  return contexts;
}

}  // namespace

double training_seconds(const RunResults& run) {
  if (std::isfinite(run.train_seconds) || run.train.empty()) return run.train_seconds;
  return run.train.back().seconds;
}

double training_speed(const RunResults& run) {
  if (std::isfinite(run.tokens_per_second) || run.train.empty()) return run.tokens_per_second;
  return static_cast<double>(run.train.back().tokens) / run.train.back().seconds;
}

GroupSummary summarise(const RunGroup& group) {
  GroupSummary summary;
  std::vector<double> seconds, speeds, losses, bits, reading, choice, spread;
  for (const RunResults* run : group.runs) {
    summary.seeds += (summary.seeds.empty() ? "" : ", ") + std::to_string(run->seed);
    summary.parameters = std::max(summary.parameters, run->parameters);
    summary.steps = std::max(summary.steps, run->steps);
    summary.planned_steps = std::max(summary.planned_steps, run->planned_steps);
    summary.tokens = std::max(summary.tokens, run->tokens);
    summary.has_ended &= run->has_ended;
    seconds.push_back(training_seconds(*run));
    speeds.push_back(training_speed(*run));
    if (const ValidPoint* last = last_validation(*run)) {
      losses.push_back(last->loss);
      bits.push_back(last->bits_per_byte);
    }
    if (const ReadingLosses* last = last_reading(*run)) {
      reading.push_back(last->of_reading());
      choice.push_back(last->of_choice());
      spread.push_back(last->spread);
    }
  }
  summary.seconds = spread_of(seconds);
  summary.tokens_per_second = spread_of(speeds);
  summary.loss = spread_of(losses);
  summary.bits_per_byte = spread_of(bits);
  summary.of_reading = spread_of(reading);
  summary.of_choice = spread_of(choice);
  summary.score_spread = spread_of(spread);
  summary.contexts = summarise_contexts(group);
  return summary;
}

}  // namespace gca::report
