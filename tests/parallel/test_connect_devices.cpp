// Without the device library; tests/cuda/ranks_on_machine.cpp has a function to connect with.

#include "lib/parallel/connect_devices.h"

#include "tests/support/doctest.h"

#include <array>

#include "lib/parallel/agreement.h"
#include "tests/support/as_ranks.h"
#include "tests/support/error_of.h"

using namespace gca;
using namespace gca::testing;

TEST_CASE("Where nothing connects devices one rank says so, and the other ends like it") {
  std::array<std::string, 2> ends;
  as_ranks(2, [&](parallel::Communicator* communicator) {
    std::string& end = ends[static_cast<size_t>(communicator->rank())];
    try {
      parallel::connect_devices(*communicator, c10::Device(c10::kCUDA, 0));
    } catch (const parallel::FailedElsewhere& failure) {
      end = failure.kind == ErrorKind::failed ? "elsewhere" : "usage";
    } catch (const Error& error) {
      end = error.what();
    }
  });
  CHECK(ends[0].starts_with("--device cuda: this build has no NCCL"));
  CHECK(ends[0].find("./dev cuda") != std::string::npos);
  CHECK(ends[1] == "elsewhere");
}
