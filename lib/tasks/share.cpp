#include "lib/tasks/share.h"

#include <algorithm>

#include <fmt/format.h>

#include "lib/tasks/wilson_interval.h"

namespace gca::tasks {

nlohmann::ordered_json share_to_json(int64_t correct, int64_t trials) {
  const WilsonInterval interval = wilson_interval(correct, trials);
  return {{"correct", correct},
          {"accuracy", trials > 0 ? static_cast<double>(correct) / static_cast<double>(trials) : 0.0},
          {"low", interval.low},
          {"high", interval.high}};
}

std::string share_text(int64_t correct, int64_t trials) {
  const WilsonInterval interval = wilson_interval(correct, trials);
  return fmt::format("{} ({:.1f} to {:.1f})", percent_text(static_cast<double>(correct), trials),
                     100 * interval.low, 100 * interval.high);
}

std::string percent_text(double part, int64_t trials) {
  return fmt::format("{:5.1f} %", 100.0 * part / static_cast<double>(std::max<int64_t>(trials, 1)));
}

}  // namespace gca::tasks
