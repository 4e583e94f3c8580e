// Work that ranks share: results in order, and every kind of failure told once.

#include "lib/parallel/shared_work.h"

#include "tests/support/doctest.h"

#include <vector>

#include "lib/core/interrupted.h"
#include "lib/parallel/agreement.h"
#include "tests/support/as_ranks.h"

using namespace gca;
using namespace gca::testing;

namespace {

std::string result_of(int64_t piece) {
  return std::string(static_cast<size_t>(piece % 4), 'x') + std::to_string(piece * piece);
}

/// What ended share_out() on each rank.
std::vector<std::string> endings_of(int ranks, const std::function<void(int rank, int64_t piece)>& work,
                                    const std::function<void(int64_t piece)>& take) {
  std::vector<std::string> endings(static_cast<size_t>(ranks));
  as_ranks(ranks, [&](parallel::Communicator* communicator) {
    std::string& ending = endings[static_cast<size_t>(communicator->rank())];
    parallel::SharedWork shared;
    shared.name = "piece";
    shared.pieces = 20;
    shared.work = [&](int64_t piece) {
      work(communicator->rank(), piece);
      return std::string();
    };
    shared.take = [&](int64_t piece, std::string_view) { take(piece); };
    try {
      parallel::share_out(*communicator, shared);
      ending = "done";
    } catch (const Error& error) {
      ending = error.what();
    } catch (const Interrupted&) {
      ending = "interrupted";
    } catch (const parallel::FailedElsewhere& failure) {
      ending = failure.kind == ErrorKind::usage ? "usage elsewhere" : "failed elsewhere";
    }
  });
  return endings;
}

}  // namespace

TEST_CASE("Each piece is done once, and results are taken in order, whoever did them") {
  for (const int ranks : {2, 3, 4})
    for (const int64_t pieces : {0, 1, 2, 7, 12})
      for (const int64_t run : {1, 2, 5}) {
        CAPTURE(ranks);
        CAPTURE(pieces);
        CAPTURE(run);
        std::vector<int> done_by(static_cast<size_t>(pieces), -1);  // each element is one rank's
        std::vector<int> done(static_cast<size_t>(pieces));
        std::vector<std::string> taken;
        std::vector<int64_t> order;
        as_ranks(ranks, [&](parallel::Communicator* communicator) {
          parallel::SharedWork shared;
          shared.name = "piece";
          shared.pieces = pieces;
          shared.run = run;
          shared.work = [&](int64_t piece) {
            done_by[static_cast<size_t>(piece)] = communicator->rank();
            ++done[static_cast<size_t>(piece)];
            return result_of(piece);
          };
          shared.take = [&](int64_t piece, std::string_view result) {
            order.push_back(piece);
            taken.emplace_back(result);
          };
          parallel::share_out(*communicator, shared);
        });
        REQUIRE(static_cast<int64_t>(taken.size()) == pieces);
        for (int64_t piece = 0; piece < pieces; ++piece) {
          const auto i = static_cast<size_t>(piece);
          CHECK(order[i] == piece);
          CHECK(taken[i] == result_of(piece));
          CHECK(done[i] == 1);
          CHECK(done_by[i] == piece / run % ranks);
        }
      }
}

TEST_CASE("A whole share is all pieces of a rank in a row") {
  as_ranks(3, [&](parallel::Communicator* communicator) {
    if (parallel::whole_share(7, *communicator) != 3 || parallel::whole_share(6, *communicator) != 2 ||
        parallel::whole_share(0, *communicator) != 1)
      throw std::runtime_error("whole_share");
  });
}

TEST_CASE("What ends the work on one rank ends it on all, and one of them tells") {
  using Endings = std::vector<std::string>;
  const auto nothing = [](int64_t) {};
  const auto failing_on = [](int rank, const std::function<void()>& fail) {
    return [rank, fail](int own, int64_t piece) {
      if (own == rank && piece >= 6) fail();
    };
  };
  CHECK(endings_of(3, failing_on(1, [] { fail_usage("file", "is damaged"); }), nothing) ==
        Endings{"usage elsewhere", "file: is damaged", "usage elsewhere"});
  CHECK(endings_of(3, failing_on(2, [] { fail_run("token 7", "is not finite"); }), nothing) ==
        Endings{"failed elsewhere", "failed elsewhere", "token 7: is not finite"});
  CHECK(endings_of(3, failing_on(1, [] { throw Interrupted(); }), nothing) ==
        Endings{"interrupted", "interrupted", "interrupted"});
  // All fail alike: the first tells.
  CHECK(endings_of(
            3, [](int, int64_t) { fail_usage("file", "is damaged"); }, nothing) ==
        Endings{"file: is damaged", "usage elsewhere", "usage elsewhere"});
  const auto full_at = [](int64_t last) {
    return [last](int64_t piece) {
      if (piece == last) fail_run("out", "the disk is full");
    };
  };
  const auto well = [](int, int64_t) {};
  for (const int64_t piece : {int64_t{4}, int64_t{19}})  // in the middle, and after the last exchange
    CHECK(endings_of(3, well, full_at(piece)) ==
          Endings{"out: the disk is full", "failed elsewhere", "failed elsewhere"});
}

TEST_CASE("A rank that is lost is named with the piece that waits for it") {
  std::string message;
  as_ranks(2, [&](parallel::Communicator* communicator) {
    if (communicator->rank() == 1) {  // one round, and no more
      parallel::gather_results(
          *communicator, [] { return std::string(); }, "results");
      return;
    }
    parallel::SharedWork shared;
    shared.name = "trial";
    shared.pieces = 8;
    shared.work = [](int64_t) { return std::string(); };
    shared.take = [](int64_t, std::string_view) {};
    try {
      parallel::share_out(*communicator, shared);
    } catch (const Error& error) {
      message = error.what();
    }
  });
  CHECK(message.starts_with("rank 0: trial 3 of 8: rank 1 was lost while exchanging results ("));
}
