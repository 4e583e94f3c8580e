#pragma once
// Ranks as threads of the test, which meet at a store in memory and talk over loopback as processes do.

#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "lib/parallel/open_communicator.h"

namespace gca::testing {

/// Runs work(rank) in a thread for each of `size` ranks, and throws what the first of them threw once all have ended. Checks of
/// doctest belong after it.
inline void in_threads(int size, const std::function<void(int rank)>& work) {
  std::vector<std::exception_ptr> errors(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      try {
        at::set_num_threads(1);
        work(rank);
      } catch (...) {
        errors[static_cast<size_t>(rank)] = std::current_exception();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

/// work(communicator) as each of `size` ranks, in_threads(). For one rank the communicator is null.
inline void as_ranks(int size, const std::function<void(parallel::Communicator*)>& work,
                     const parallel::CommunicatorTimeouts& timeouts = {}) {
  if (size == 1) return work(nullptr);
  const auto store = c10::make_intrusive<c10d::HashStore>();
  in_threads(size, [&](int rank) {
    const auto communicator = parallel::open_communicator(store, rank, size, timeouts);
    work(communicator.get());
  });
}

}  // namespace gca::testing
