#pragma once
// This process as one of the ranks of a command (docs/distributed.md).

#include <functional>
#include <string>

#include "apps/gca/options/common_options.h"
#include "lib/parallel/communicator.h"

namespace gca::app {

/// Meets the other ranks and does `work`: `ranks` is null where the process is alone. What ends the work is told by one
/// rank: Error and Interrupted on that one, EndedWith on the others.
void as_rank(int timeout_seconds, const std::function<void(parallel::Communicator* ranks)>& work);

/// Is this the rank that writes and prints? The only one, or rank 0.
inline bool is_writer(const parallel::Communicator* ranks) {
  return ranks == nullptr || ranks->rank() == 0;
}

/// Throws where the ranks are not of one version of gca and one command line.
void require_same_command(parallel::Communicator* ranks);

/// Of a rank that does not write: no report, no table, no progress.
void be_silent(CommonOptions& options);

/// --memory, with a scratch file for each rank.
std::string memory_of_rank(const std::string& memory, const parallel::Communicator* ranks);

}  // namespace gca::app
