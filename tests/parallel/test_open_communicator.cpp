#include "lib/parallel/open_communicator.h"

#include "tests/support/doctest.h"

#include <unistd.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <array>
#include <chrono>

#include "lib/core/error.h"
#include "lib/parallel/reserved_port.h"
#include "tests/support/as_ranks.h"
#include "tests/support/error_of.h"

using namespace gca;
using namespace gca::testing;

namespace {

/// The socket of a port for the one who listens there, and closes it.
int listening_socket(const parallel::ReservedPort& port) {
  return dup(port.socket());
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
  parallel::RankEnvironment environment{.size = 3, .address = "127.0.0.1"};
  const auto sums_at_free_port = [&] {
    const parallel::ReservedPort free;
    environment.port = free.number();
    environment.listening_socket = listening_socket(free);
    return sums_of(environment);
  };
  for (const bool is_one_machine : {true, false}) {
    environment.is_one_machine = is_one_machine;
    CHECK(sums_at_free_port() == std::vector<double>(3, 6.0));
  }
  environment.interface = "lo";
  CHECK(sums_at_free_port() == std::vector<double>(3, 6.0));
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

TEST_CASE("A port that a launcher has reserved is free for rank 0 alone") {
  const parallel::ReservedPort reserved;
  const parallel::RankEnvironment other{.size = 2, .address = "127.0.0.1", .port = reserved.number()};
  const auto error =
      error_of([&] { parallel::open_communicator(other, {.meeting = std::chrono::seconds(1)}); });
  REQUIRE(error);
  CHECK(error->message.find("already in use") != std::string::npos);
  parallel::RankEnvironment own = other;
  own.listening_socket = listening_socket(reserved);
  CHECK(sums_of(own) == std::vector<double>(2, 3.0));
}

TEST_CASE("A rank that never comes is an error that names the place") {
  using Clock = std::chrono::steady_clock;
  const parallel::ReservedPort free;
  const auto start = Clock::now();
  const auto error = error_of([&] {
    parallel::open_communicator({.rank = 0,
                                 .size = 3,
                                 .address = "127.0.0.1",
                                 .port = free.number(),
                                 .listening_socket = listening_socket(free)},
                                {.meeting = std::chrono::seconds(1)});
  });
  REQUIRE(error);
  CHECK_FALSE(error->is_usage());
  CHECK(error->message.starts_with("rank 0: cannot meet the other 2 ranks at 127.0.0.1, port " +
                                   std::to_string(free.number()) + " ("));
  CHECK(error->message.find('\n') == std::string::npos);
  CHECK(std::chrono::duration<double>(Clock::now() - start).count() < 20);
}
