#include "lib/parallel/open_communicator.h"

#include "tests/support/doctest.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <array>
#include <chrono>

#include "lib/core/error.h"
#include "tests/support/as_ranks.h"
#include "tests/support/error_of.h"

using namespace gca;
using namespace gca::testing;

namespace {

/// A socket bound to a port of this machine, on which nobody listens yet and which whoever listens there closes.
struct BoundSocket {
  BoundSocket() : number(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const plain = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(bind(number, plain, size) == 0);
    REQUIRE(getsockname(number, plain, &size) == 0);
    port = ntohs(address.sin_port);
  }

  int number;
  int port = 0;
};

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
    const BoundSocket free;
    environment.port = free.port;
    environment.listening_socket = free.number;
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
  const BoundSocket reserved;
  const parallel::RankEnvironment other{.size = 2, .address = "127.0.0.1", .port = reserved.port};
  const auto error =
      error_of([&] { parallel::open_communicator(other, {.meeting = std::chrono::seconds(1)}); });
  REQUIRE(error);
  CHECK(error->message.find("already in use") != std::string::npos);
  parallel::RankEnvironment own = other;
  own.listening_socket = reserved.number;
  CHECK(sums_of(own) == std::vector<double>(2, 3.0));
}

TEST_CASE("A rank that never comes is an error that names the place") {
  using Clock = std::chrono::steady_clock;
  const BoundSocket free;
  const auto start = Clock::now();
  const auto error = error_of([&] {
    parallel::open_communicator(
        {.rank = 0, .size = 3, .address = "127.0.0.1", .port = free.port, .listening_socket = free.number},
        {.meeting = std::chrono::seconds(1)});
  });
  REQUIRE(error);
  CHECK_FALSE(error->is_usage());
  CHECK(error->message.starts_with("rank 0: cannot meet the other 2 ranks at 127.0.0.1, port " +
                                   std::to_string(free.port) + " ("));
  CHECK(error->message.find('\n') == std::string::npos);
  CHECK(std::chrono::duration<double>(Clock::now() - start).count() < 20);
}
