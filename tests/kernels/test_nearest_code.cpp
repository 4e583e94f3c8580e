#include "kernels/nearest_code/nearest_code.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>

#include "kernels/common/implementation.h"
#include "tests/kernels/attention_test_support.h"
#include "tests/support/gradcheck.h"

namespace gca::kernels {
namespace {

using testing::some_numbers;

TEST_CASE("nearest code: the fast version finds codes as near as the plain one's, in every type") {
  // Fewer codes than lanes, more than a multiple of them; more keys than are compared at once.
  for (const int64_t code_count : {1, 7, 16, 37, 256}) {
    CAPTURE(code_count);
    const at::Tensor codes = some_numbers({3, code_count, 10}, 1.5, 1).to(at::kFloat);
    for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
      const at::Tensor own_codes = type == at::kDouble ? codes.to(type) : codes;
      const at::Tensor keys = some_numbers({2, 700, 3, 10}, 1.0, 0).to(at::kBFloat16).to(type);
      const at::Tensor fast = nearest_code(keys, own_codes);
      const ImplementationGuard guard(Implementation::reference);
      const at::Tensor plain = nearest_code(keys, own_codes);
      const at::Tensor distance =
          (keys.to(at::kDouble).unsqueeze(3) - codes.to(at::kDouble)).square().sum(-1);  // (B, L, H, N)
      const auto chosen = [&](const at::Tensor& z) { return distance.gather(3, z.unsqueeze(3)); };
      CHECK((chosen(fast) - chosen(plain)).abs().max().item<double>() <=
            (type == at::kBFloat16 ? 1e-3 : 1e-5));
      CHECK(fast.ne(plain).to(at::kDouble).mean().item<double>() <= 0.01);
    }
  }
}

TEST_CASE("nearest code: of equally near codes the first") {
  const at::Tensor half = some_numbers({2, 20, 6}, 1.0, 1).to(at::kFloat);
  const at::Tensor codes = at::cat({half, half, half}, 1);
  const at::Tensor keys = some_numbers({1, 50, 2, 6}, 1.0, 0).to(at::kFloat);
  for (const auto version : {Implementation::reference, Implementation::fast}) {
    const ImplementationGuard guard(version);
    const at::Tensor z = nearest_code(keys, codes);
    CHECK(z.max().item<int64_t>() < 20);
    CHECK(at::equal(z, nearest_code(keys, half)));
  }
}

}  // namespace
}  // namespace gca::kernels
