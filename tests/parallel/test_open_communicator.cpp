#include "lib/parallel/open_communicator.h"

#include "tests/support/doctest.h"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <array>
#include <chrono>

#include "lib/core/error.h"
#include "tests/support/as_ranks.h"
#include "tests/support/error_of.h"

using namespace gca;
using namespace gca::testing;

namespace {

/// A port that was free a moment ago.
int free_port() {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  return c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options)->getPort();
}

/// The sum of rank + 1 over ranks that meet as `environment` says, for two runs one after the other.
std::vector<double> sums_of(parallel::RankEnvironment environment) {
  std::vector<double> sums(static_cast<size_t>(environment.size));
  in_threads(environment.size, [&](int rank) {
    parallel::RankEnvironment own = environment;
    own.rank = rank;
    const auto communicator = parallel::open_communicator(own);
    const double value = rank + 1;
    for (const double one : communicator->all_gather_values({&value, 1}, "ranks"))
      sums[static_cast<size_t>(rank)] += one;
  });
  return sums;
}

}  // namespace

TEST_CASE("Ranks meet where their environment says, and one alone needs nobody") {
  CHECK(parallel::open_communicator(parallel::RankEnvironment{}) == nullptr);
  for (const bool is_one_machine : {true, false})
    CHECK(
        sums_of({.size = 3, .is_one_machine = is_one_machine, .address = "127.0.0.1", .port = free_port()}) ==
        std::vector<double>(3, 6.0));
  CHECK(sums_of({.size = 2, .address = "127.0.0.1", .port = free_port(), .interface = "lo"}) ==
        std::vector<double>(2, 3.0));
}

TEST_CASE("Ranks of torchrun meet at the store that it keeps, again after a restart") {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  const auto kept = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  for (const char* prefix : {"/worker/attempt_0", "/worker/attempt_1"})
    CHECK(sums_of({.size = 2, .address = "127.0.0.1", .port = kept->getPort(), .store_prefix = prefix}) ==
          std::vector<double>(2, 3.0));
}

TEST_CASE("A rank that never comes is an error that names the place") {
  using Clock = std::chrono::steady_clock;
  const int port = free_port();
  const auto start = Clock::now();
  const auto error = error_of([&] {
    parallel::open_communicator({.rank = 0, .size = 3, .address = "127.0.0.1", .port = port},
                                {.meeting = std::chrono::seconds(1)});
  });
  REQUIRE(error);
  CHECK_FALSE(error->is_usage());
  CHECK(error->message.starts_with("rank 0: cannot meet the other 2 ranks at 127.0.0.1, port " +
                                   std::to_string(port) + " ("));
  CHECK(error->message.find('\n') == std::string::npos);
  CHECK(std::chrono::duration<double>(Clock::now() - start).count() < 20);
}
