// What gca report reads: metrics.jsonl, ----, report.json of a run.

#include "lib/report/report_csv.h"
#include "lib/report/report_page.h"
#include "lib/report/report_table.h"
#include "lib/report/runs/read_runs.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = parts_of(text_of(data, size), 3);
  const std::string folder = scratch_folder() + "/run";
  std::filesystem::create_directory(folder);
  put(folder + "/metrics.jsonl", parts[0]);
  put(folder + "/report.json", parts[1].empty() ? "{}" : parts[1]);
  put(scratch_folder() + "/eval.json", parts[2]);
  std::vector<std::string> paths = {folder};
  if (!parts[2].empty()) paths.push_back(scratch_folder() + "/eval.json");
  read_or_refuse([&] {
    const std::vector<gca::report::RunResults> runs = gca::report::read_runs(paths);
    const gca::report::Comparison comparison = gca::report::compare_runs(runs);
    gca::report::report_page(comparison);
    gca::report::report_csv(comparison);
    gca::report::report_table(comparison);
  });
  return 0;
}
