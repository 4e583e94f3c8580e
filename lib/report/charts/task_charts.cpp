#include "lib/report/charts/task_charts.h"

#include <fmt/format.h>

#include "lib/core/size_suffix.h"
#include "lib/report/charts/by_size.h"

namespace gca::report {
namespace {

using nlohmann::json;

constexpr const char* kTasks = "Tasks";

/// Trials and hits, added up over the runs of a group.
struct Hits {
  int64_t trials = 0;
  int64_t correct = 0;
};

json depth_cell(const Hits& hits, int64_t context, double depth) {
  if (hits.trials == 0) return nullptr;
  return {{"share", static_cast<double>(hits.correct) / static_cast<double>(hits.trials)},
          {"hint", fmt::format("context {}, depth {:.0f} %: {} of {}", context, 100 * depth, hits.correct,
                               hits.trials)}};
}

/// A task that was measured on one data set.
struct TaskOnData {
  std::string task, data;
  std::string title;

  bool is_of(const Recall& recall) const { return recall.task == task && recall.data == data; }
};

void add_accuracy_chart(const Comparison& comparison, const TaskOnData& task, json& charts) {
  BySize values;
  for_each_of<Recall>(comparison, &RunResults::recalls, [&](size_t g, const Recall& recall) {
    if (task.is_of(recall) && std::isnan(recall.depth) && recall.trials > 0)
      values[{g, recall.retriever}][recall.context].push_back(100.0 * static_cast<double>(recall.correct) /
                                                              static_cast<double>(recall.trials));
  });
  add_chart_by_size(values, {kTasks, task.title + ": found, by context", "% found"}, kContextTitle, {},
                    charts);
}

void add_depth_map(const Comparison& comparison, size_t g, const TaskOnData& task,
                   const std::string& retriever, json& charts) {
  std::map<double, std::map<int64_t, Hits>> hits;  // by depth and context
  std::set<int64_t> contexts;
  for (const RunResults* run : comparison.groups[g].runs)
    for (const Recall& recall : run->recalls) {
      if (!task.is_of(recall) || recall.retriever != retriever || std::isnan(recall.depth)) continue;
      Hits& cell = hits[recall.depth][recall.context];
      cell.trials += recall.trials;
      cell.correct += recall.correct;
      contexts.insert(recall.context);
    }
  if (hits.empty()) return;
  json rows = json::array(), columns = json::array(), cells = json::array();
  for (const int64_t context : contexts) columns.push_back(size_text(context));
  for (auto& [depth, by_context] : hits) {
    rows.push_back(fmt::format("{:.0f} %", 100 * depth));
    json row = json::array();
    for (const int64_t context : contexts) row.push_back(depth_cell(by_context[context], context, depth));
    cells.push_back(std::move(row));
  }
  charts.push_back({{"section", kTasks},
                    {"title", task.title + ": % found"},
                    {"group", g},
                    {"line", retriever},
                    {"columns", {{"title", kContextTitle}, {"labels", std::move(columns)}}},
                    {"rows", {{"title", "depth"}, {"labels", std::move(rows)}}},
                    {"cells", std::move(cells)}});
}

void add_depth_maps(const Comparison& comparison, const TaskOnData& task, json& charts) {
  for (size_t g = 0; g < comparison.groups.size(); ++g) {
    std::set<std::string> retrievers;
    for (const RunResults* run : comparison.groups[g].runs)
      for (const Recall& recall : run->recalls)
        if (task.is_of(recall)) retrievers.insert(recall.retriever);
    for (const std::string& retriever : retrievers) add_depth_map(comparison, g, task, retriever, charts);
  }
}

}  // namespace

void add_task_charts(const Comparison& comparison, json& charts) {
  std::set<std::string> tasks;
  for_each_of<Recall>(comparison, &RunResults::recalls,
                      [&](size_t, const Recall& recall) { tasks.insert(recall.task); });
  for (const std::string& task : tasks)
    for (const auto& [data, words] : data_sets(comparison, &RunResults::recalls)) {
      const TaskOnData on_data{task, data, task + words};
      add_accuracy_chart(comparison, on_data, charts);
      add_depth_maps(comparison, on_data, charts);
    }
}

}  // namespace gca::report
