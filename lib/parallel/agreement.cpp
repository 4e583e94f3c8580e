#include "lib/parallel/agreement.h"

#include <fmt/format.h>

#include <optional>

namespace gca::parallel {

void succeed_together(Communicator* communicator, const std::function<void()>& work) {
  if (communicator == nullptr) return work();
  std::optional<Error> failure;
  try {
    work();
  } catch (const Error& error) {
    failure = error;
  }
  const double status = failure ? static_cast<double>(failure->kind()) : 0;
  const std::vector<double> all = communicator->all_gather_values({&status, 1}, "whether all went well");
  for (int r = 0; r < communicator->size(); ++r) {
    const auto its = static_cast<int>(all[static_cast<size_t>(r)]);
    if (its == 0) continue;
    if (r == communicator->rank()) throw *failure;
    throw FailedElsewhere(static_cast<ErrorKind>(its));
  }
}

void require_same(Communicator& communicator, const std::vector<std::pair<std::string, std::string>>& facts) {
  for (const auto& [name, text] : facts) {
    const std::vector<std::string> all = communicator.all_gather_text(text, "what they run");
    for (size_t r = 1; r < all.size(); ++r) {
      if (all[r] == all[0]) continue;
      if (communicator.rank() != 0) throw FailedElsewhere(ErrorKind::usage);
      fail_usage(fmt::format("rank {}", r), fmt::format("its {} differs from that of rank 0", name),
                 "start every rank with the same program, command line and files");
    }
  }
}

}  // namespace gca::parallel
