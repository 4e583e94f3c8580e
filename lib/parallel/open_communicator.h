#pragma once
// Makes the communicator of a process: finds the other ranks, connects to each.

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <memory>

#include "lib/parallel/communicator.h"
#include "lib/parallel/rank_environment.h"

namespace c10d {
class Store;
}

namespace gca::parallel {

struct CommunicatorTimeouts {
  std::chrono::milliseconds meeting = std::chrono::minutes(2);   ///< until all ranks have come
  std::chrono::milliseconds message = std::chrono::minutes(10);  ///< until a message has arrived
};

/// Null where the process is alone. Error(failed) where a rank does not come in time.
std::unique_ptr<Communicator> open_communicator(const RankEnvironment& environment,
                                                const CommunicatorTimeouts& timeouts = {});

/// One rank of several that share a store, such as threads of one process.
std::unique_ptr<Communicator> open_communicator(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                                int size, const CommunicatorTimeouts& timeouts = {});

/// The group of `size` consecutive ranks of `all` that this one is in, the first of which is a multiple of `size`; `size`
/// divides theirs. Its messages do not mix with those of `all`, to which all ranks must still belong.
std::unique_ptr<Communicator> open_group(const Communicator& all, int size);

}  // namespace gca::parallel
