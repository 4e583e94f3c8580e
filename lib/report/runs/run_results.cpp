#include "lib/report/runs/run_results.h"

#include <algorithm>

namespace gca::report {

const ValidPoint* last_validation(const RunResults& run) {
  if (run.valid.empty()) return nullptr;
  const auto is_last = [&](const ValidPoint& point) { return point.step == run.valid.back().step; };
  const auto text = std::find_if(run.valid.rbegin(), run.valid.rend(), [&](const ValidPoint& point) {
    return is_last(point) && point.task == "text";
  });
  if (text != run.valid.rend()) return &*text;
  return std::count_if(run.valid.begin(), run.valid.end(), is_last) == 1 ? &run.valid.back() : nullptr;
}

}  // namespace gca::report
