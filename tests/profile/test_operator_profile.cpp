#include "lib/profile/operator_profile.h"

#include "tests/support/doctest.h"

#include <ATen/ops/ones.h>

#include <chrono>
#include <thread>

#include "kernels/common/named_work.h"

namespace {

void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

const gca::profile::OperatorTime* find(const std::vector<gca::profile::OperatorTime>& operators,
                                       const std::string& name) {
  for (const gca::profile::OperatorTime& time : operators)
    if (time.name == name) return &time;
  return nullptr;
}

}  // namespace

TEST_CASE("operator profile: an operator's time is its own, and the parts add up to the whole") {
  gca::profile::OperatorProfile profile;
  for (int run = 0; run < 2; ++run) {
    profile.start();
    sleep_ms(20);  // between operators
    {
      const gca::kernels::NamedWork outer("outer");
      sleep_ms(30);
      const gca::kernels::NamedWork inner("inner");
      sleep_ms(40);
    }
    profile.stop();
    const gca::kernels::NamedWork unseen("unseen");
    sleep_ms(10);
  }
  const auto operators = profile.operators();
  REQUIRE(operators.size() == 2);
  const gca::profile::OperatorTime* outer = find(operators, "outer");
  const gca::profile::OperatorTime* inner = find(operators, "inner");
  REQUIRE(outer != nullptr);
  REQUIRE(inner != nullptr);
  CHECK(outer->calls == 2);
  CHECK(inner->calls == 2);
  // A sleep is never shorter than asked for, and both lie within what was measured.
  CHECK(outer->seconds >= 0.060);
  CHECK(inner->seconds >= 0.080);
  CHECK(profile.elapsed_seconds() >= 0.180);
  CHECK(outer->seconds + inner->seconds <= profile.elapsed_seconds() - 0.040);
  CHECK(profile.explained() ==
        doctest::Approx((outer->seconds + inner->seconds) / profile.elapsed_seconds()));
}

TEST_CASE("operator profile: LibTorch's operators and their backward passes are seen") {
  const at::Tensor x = at::ones({3, 3}).requires_grad_(true);
  gca::profile::OperatorProfile profile;
  profile.start();
  x.mul(x).sum().backward();
  profile.stop();
  const auto operators = profile.operators();
  CHECK(find(operators, "aten::sum") != nullptr);
  CHECK(find(operators, "MulBackward0") != nullptr);
  CHECK(profile.to_json()["operators"].size() == operators.size());
}
