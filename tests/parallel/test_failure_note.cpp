#include "lib/parallel/failure_note.h"

#include "tests/support/doctest.h"

#include <ATen/ops/zeros.h>

#include <array>
#include <chrono>

#include "tests/support/as_ranks.h"

using namespace gca;
using namespace gca::testing;

TEST_CASE("Of ranks that fail by themselves the first tells, and those who lose them are quiet") {
  std::array<bool, 2> tells = {};
  std::string end;
  as_ranks(3, [&](parallel::Communicator* communicator) {
    communicator->any(true, "the beginning");
    const int rank = communicator->rank();
    if (rank < 2) {
      tells[static_cast<size_t>(rank)] = parallel::leave_failure_note(*communicator, ErrorKind::usage);
      return;
    }
    try {
      communicator->any(true, "gradients");
    } catch (const parallel::FailedElsewhere& failure) {
      end = failure.kind == ErrorKind::usage ? "usage" : "failed";
    }
  });
  CHECK(tells[0] != tells[1]);
  CHECK(end == "usage");
}

TEST_CASE("A note of the whole run is found in a group of its ranks") {
  std::string end;
  as_ranks(4, [&](parallel::Communicator* communicator) {
    const auto group = parallel::open_group(*communicator, 2);
    group->any(true, "the beginning");
    if (communicator->rank() == 2) parallel::leave_failure_note(*communicator, ErrorKind::failed);
    if (communicator->rank() != 3) return;
    try {
      group->any(true, "chunks");
    } catch (const parallel::FailedElsewhere& failure) {
      end = failure.kind == ErrorKind::failed ? "failed" : "usage";
    }
  });
  CHECK(end == "failed");
}

TEST_CASE("Without a note a lost rank is an error") {
  bool is_lost = false;
  as_ranks(2, [&](parallel::Communicator* communicator) {
    communicator->any(true, "the beginning");
    if (communicator->rank() == 1) return;
    try {
      communicator->any(true, "gradients");
    } catch (const parallel::LostRank&) {
      is_lost = true;
    }
  });
  CHECK(is_lost);
}

TEST_CASE("Of ranks that lose another the first tells, and the run ends without waiting for the lost one") {
  using Clock = std::chrono::steady_clock;
  std::array<int, 3> told = {};
  std::array<int, 3> quiet = {};
  std::array<double, 3> seconds = {};
  const auto store = c10::make_intrusive<c10d::HashStore>();
  in_threads(4, [&](int number) {
    auto communicator = parallel::open_communicator(store, number, 4);
    communicator->any(true, "the beginning");
    if (number == 3) return;
    const auto rank = static_cast<size_t>(number);
    const auto start = Clock::now();
    try {
      communicator->any(true, "gradients");
    } catch (const parallel::LostRank&) {
      ++(parallel::leave_failure_note(*communicator, ErrorKind::failed, 1) ? told : quiet)[rank];
      parallel::end_after_failure(std::move(communicator), 1);
    } catch (const parallel::FailedElsewhere& failure) {
      if (failure.kind == ErrorKind::failed) ++quiet[rank];
      parallel::end_after_failure(std::move(communicator), failure.lost);
    }
    seconds[rank] = std::chrono::duration<double>(Clock::now() - start).count();
  });
  CHECK(told[0] + told[1] + told[2] == 1);
  CHECK(quiet[0] + quiet[1] + quiet[2] == 2);
  for (const double each : seconds) CHECK(each < 2.5);
}

TEST_CASE("Rank 0 stays until the others have come, or for so long") {
  using Clock = std::chrono::steady_clock;
  const auto seconds_of_end = [](bool others_come) {
    const auto store = c10::make_intrusive<c10d::HashStore>();
    std::array<double, 3> seconds = {};
    in_threads(3, [&](int rank) {
      auto communicator = parallel::open_communicator(store, rank, 3);
      if (rank > 0 && !others_come) return;
      if (rank == 2) std::this_thread::sleep_for(std::chrono::milliseconds(200));
      const auto start = Clock::now();
      parallel::end_after_failure(std::move(communicator), 0, std::chrono::milliseconds(1500));
      seconds[static_cast<size_t>(rank)] = std::chrono::duration<double>(Clock::now() - start).count();
    });
    CHECK(seconds[1] < 1.4);
    return seconds[0];
  };
  const double until_all = seconds_of_end(true);
  CHECK(until_all > 0.1);
  CHECK(until_all < 1.4);
  CHECK(seconds_of_end(false) >= 1.5);
}
