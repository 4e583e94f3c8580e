#include "apps/gca/options/rank_options.h"

#include <algorithm>

#include "apps/gca/options/common_options.h"
#include "lib/core/error.h"
#include "lib/parallel/rank_environment.h"

namespace gca::app {

bool shares_work(const std::vector<std::string>& command_line) {
  return command_line.size() > 1 && std::find(kSharingCommands.begin(), kSharingCommands.end(),
                                              command_line[1]) != kSharingCommands.end();
}

void add_timeout_option(CLI::App& command, int& timeout_seconds) {
  constexpr int kMostSeconds = 30 * 24 * 3600;
  command
      .add_option(
          "--timeout", timeout_seconds,
          with_default("With several ranks: seconds that one waits for a message of another before it "
                       "gives the other up",
                       std::to_string(timeout_seconds)))
      ->check(CLI::Range(1, kMostSeconds))
      ->type_name("SECONDS")
      ->group("Common");
}

void refuse_ranks(const std::string& what) {
  if (parallel::rank_environment().size > 1)
    fail_usage(what, "is not shared among ranks", "start one process");
}

}  // namespace gca::app
