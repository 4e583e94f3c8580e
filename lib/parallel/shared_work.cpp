#include "lib/parallel/shared_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>
#include <vector>

#include "lib/parallel/agreement.h"

namespace gca::parallel {

void share_out(Communicator& communicator, const SharedWork& shared) {
  const int64_t ranks = communicator.size();
  std::map<int64_t, std::string> waiting;  // results on rank 0, by piece
  int64_t taken = 0;
  std::exception_ptr failure;  // of take(); the others hear of it when they meet next
  const auto rethrow_failure = [&failure] {
    if (failure) std::rethrow_exception(failure);
  };
  for (int64_t round = 0; round < shared.pieces; round += ranks * shared.run) {
    // The last round may be short: no rank takes more steps than are needed.
    const int64_t steps = std::min(shared.run, shared.pieces - round);
    for (int64_t step = 0; step < steps; ++step) {
      const auto piece_of = [&](int64_t rank) { return round + rank * shared.run + step; };
      const int64_t own = piece_of(communicator.rank());
      communicator.begin_stage(
          fmt::format("{} {} of {}", shared.name, std::min(own + 1, shared.pieces), shared.pieces),
          "start all ranks again");
      std::vector<std::string> results = gather_results(
          communicator,
          [&] {
            rethrow_failure();
            return own < shared.pieces ? shared.work(own) : std::string();
          },
          "results");
      for (size_t rank = 0; rank < results.size(); ++rank)
        if (const int64_t piece = piece_of(static_cast<int64_t>(rank)); piece < shared.pieces)
          waiting[piece] = std::move(results[rank]);
      try {
        for (; waiting.contains(taken); ++taken) {
          shared.take(taken, waiting[taken]);
          waiting.erase(taken);
        }
      } catch (const std::exception&) {
        failure = std::current_exception();
      }
    }
  }
  succeed_together(&communicator, rethrow_failure);
}

int64_t whole_share(int64_t pieces, const Communicator& communicator) {
  return std::max<int64_t>(1, (pieces + communicator.size() - 1) / communicator.size());
}

}  // namespace gca::parallel
