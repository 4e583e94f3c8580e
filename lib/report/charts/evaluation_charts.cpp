#include "lib/report/charts/evaluation_charts.h"

#include "lib/core/size_suffix.h"
#include "lib/report/charts/by_size.h"

namespace gca::report {
namespace {

using nlohmann::json;

constexpr const char* kByContext = "By context";
constexpr const char* kByPosition = "By position";
constexpr const char* kSpeed = "Speed";

/// What the learned choice gains over another, where a run was measured with both.
BySize gains_over(const std::string& other, const BySize& losses) {
  BySize gains;
  for (const auto& [key, sizes] : losses) {
    const auto learned = losses.find({key.first, "learned"});
    if (key.second != other || learned == losses.end()) continue;
    for (const auto& [size, all] : sizes)
      if (const auto found = learned->second.find(size); found != learned->second.end())
        gains[{key.first, ""}][size].push_back(spread_of(all).mean - spread_of(found->second).mean);
  }
  return gains;
}

}  // namespace

void add_context_charts(const Comparison& comparison, json& charts) {
  for (const auto& set : data_sets(comparison, &RunResults::contexts)) {
    const auto& data = set.first;
    const auto& words = set.second;
    BySize bits, perplexities, losses;
    for_each_of<ContextLoss>(comparison, &RunResults::contexts, [&](size_t g, const ContextLoss& loss) {
      if (loss.data != data) return;
      bits[{g, loss.retriever}][loss.context].push_back(loss.bits_per_byte);
      perplexities[{g, loss.retriever}][loss.context].push_back(loss.perplexity);
      losses[{g, loss.retriever}][loss.context].push_back(loss.loss);
    });
    add_chart_by_size(bits, {kByContext, "Bits per byte by context" + words, "bits per byte"}, kContextTitle,
                      {}, charts);
    add_chart_by_size(perplexities, {kByContext, "Perplexity by context" + words, "perplexity"},
                      kContextTitle, {}, charts);
    add_chart_by_size(gains_over("none", losses),
                      {kByContext, "What reading gains by context" + words,
                       "nats per token: nothing read minus learned choice"},
                      kContextTitle, {}, charts);
    add_chart_by_size(gains_over("random", losses),
                      {kByContext, "What choosing gains by context" + words,
                       "nats per token: random choice minus learned choice"},
                      kContextTitle, {}, charts);
  }
}

void add_position_charts(const Comparison& comparison, json& charts) {
  for (const auto& set : data_sets(comparison, &RunResults::positions)) {
    const auto& data = set.first;
    const auto& words = set.second;
    std::map<int64_t, std::set<size_t>> groups_at;
    for_each_of<ReportedPositionLoss>(comparison, &RunResults::positions,
                                      [&](size_t g, const ReportedPositionLoss& loss) {
                                        if (loss.data == data) groups_at[loss.context].insert(g);
                                      });
    int64_t context = 0;
    size_t most = 0;
    for (const auto& [candidate, groups] : groups_at)
      if (groups.size() >= most) context = candidate, most = groups.size();
    BySize values;
    for_each_of<ReportedPositionLoss>(comparison, &RunResults::positions,
                                      [&](size_t g, const ReportedPositionLoss& loss) {
                                        if (loss.data == data && loss.context == context)
                                          values[{g, loss.retriever}][loss.to].push_back(loss.loss);
                                      });
    // A bucket stands at its end: the first begins at 0.
    add_chart_by_size(
        values,
        {kByPosition, "Loss by position, at a context of " + size_text(context) + words, "nats per token"},
        "tokens before, up to", {.skips_start = true}, charts);
    const ChartTexts reading = {kByPosition, "What reading gains by position" + words,
                                "nats per token: nothing read minus learned choice"};
    const ChartTexts choosing = {kByPosition, "What choosing gains by position" + words,
                                 "nats per token: random choice minus learned choice"};
    add_chart_by_size(gains_over("none", values), reading, "tokens before, up to", {}, charts);
    add_chart_by_size(gains_over("random", values), choosing, "tokens before, up to", {}, charts);
  }
}

void add_benchmark_charts(const Comparison& comparison, json& charts) {
  std::map<std::string, BySize> modes;
  for_each_of<Speed>(comparison, &RunResults::speeds, [&](size_t g, const Speed& speed) {
    modes[speed.mode][{g, ""}][speed.context].push_back(speed.tokens_per_second);
  });
  for (const auto& [mode, values] : modes)
    add_chart_by_size(values, {kSpeed, "Benchmark: " + mode, "tokens of text per second"}, kContextTitle, {},
                      charts);
}

}  // namespace gca::report
