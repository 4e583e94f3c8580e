#include "lib/parallel/agreement.h"

#include "tests/support/doctest.h"

#include "tests/support/as_ranks.h"

using namespace gca;
using namespace gca::testing;

namespace {

/// How the work of each rank ended: "done", the message of an error, or "elsewhere" with its exit status.
std::vector<std::string> ends_of(int size, const std::function<void(parallel::Communicator*)>& work) {
  std::vector<std::string> ends(static_cast<size_t>(size));
  as_ranks(size, [&](parallel::Communicator* communicator) {
    std::string& end = ends[static_cast<size_t>(communicator->rank())];
    try {
      work(communicator);
      end = "done";
    } catch (const parallel::FailedElsewhere& failure) {
      end = "elsewhere " + std::to_string(static_cast<int>(failure.kind));
    } catch (const Error& error) {
      end = error.what();
    }
  });
  return ends;
}

}  // namespace

TEST_CASE("What fails on some ranks fails on all, and one of them tells it") {
  const auto ends = ends_of(3, [](parallel::Communicator* communicator) {
    parallel::succeed_together(communicator, [&] {
      if (communicator->rank() > 0) fail_usage("rank " + std::to_string(communicator->rank()), "has no data");
    });
  });
  CHECK(ends == std::vector<std::string>{"elsewhere 2", "rank 1: has no data", "elsewhere 2"});
  const auto failed = ends_of(2, [](parallel::Communicator* communicator) {
    parallel::succeed_together(communicator, [&] {
      if (communicator->rank() == 0) fail_run("disk", "is full");
    });
  });
  CHECK(failed == std::vector<std::string>{"disk: is full", "elsewhere 1"});
  const auto done = ends_of(
      2, [](parallel::Communicator* communicator) { parallel::succeed_together(communicator, [] {}); });
  CHECK(done == std::vector<std::string>{"done", "done"});
}

TEST_CASE("One process does its work, and fails as ever") {
  bool has_run = false;
  parallel::succeed_together(nullptr, [&] { has_run = true; });
  CHECK(has_run);
  CHECK_THROWS_AS(parallel::succeed_together(nullptr, [] { fail_run("disk", "is full"); }), Error);
}

TEST_CASE("What differs between ranks is named once") {
  const auto ends = ends_of(3, [](parallel::Communicator* communicator) {
    const std::string seed = communicator->rank() == 2 ? "seed 4, and more" : "seed 3";
    parallel::require_same(*communicator, {{"version", "1"}, {"configuration", seed}});
  });
  CHECK(ends[0].starts_with("rank 2: its configuration differs from that of rank 0; "));
  CHECK(ends[1] == "elsewhere 2");
  CHECK(ends[2] == "elsewhere 2");
  const auto same = ends_of(2, [](parallel::Communicator* communicator) {
    parallel::require_same(*communicator, {{"version", ""}, {"configuration", "seed 3"}});
  });
  CHECK(same == std::vector<std::string>{"done", "done"});
}
