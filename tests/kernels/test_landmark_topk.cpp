// The choice of chunks and its weights, and the noise in it.

#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/round.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/common/implementation.h"
#include "kernels/common/philox.h"
#include "kernels/gumbel_noise/gumbel_noise.h"
#include "kernels/landmark_topk/landmark_topk.h"
#include "tests/support/gradcheck.h"

using namespace gca::kernels;
using namespace gca::testing;

TEST_CASE("the fast choice is the stable sort's, also on ties, NaN and infinities") {
  at::Tensor r = some_numbers({2, 40, 40}, 3.0).to(at::kFloat);
  r = at::round(r);  // many ties
  r.select(2, 3).fill_(std::numeric_limits<float>::quiet_NaN());
  r.select(2, 5).fill_(-std::numeric_limits<float>::infinity());
  const at::Tensor noise = some_numbers({2, 40, 40}, 1.0, 0.3).to(at::kFloat);
  for (const int64_t K : {1, 2, 8, 50}) {
    for (const int64_t first_query : {0, 1, 7, 200}) {
      for (const at::Tensor& added : {at::Tensor(), noise}) {
        const at::Tensor fast = landmark_topk(r, added, first_query, K);
        const ImplementationGuard guard(Implementation::reference);
        CHECK(at::equal(fast, landmark_topk(r, added, first_query, K)));
      }
    }
  }
}

TEST_CASE("row t has candidates before t only, best first, -1 beyond them") {
  const at::Tensor r = at::tensor({5.0F, 1.0F, 9.0F, 7.0F}).view({1, 1, 4}).expand({1, 5, 4});
  const at::Tensor idx = landmark_topk(r, {}, 0, 2);
  const at::Tensor wanted = at::tensor({-1, -1, 0, -1, 0, 1, 2, 0, 2, 3}, at::kInt).view({1, 5, 2});
  CHECK(at::equal(idx, wanted));
}

TEST_CASE("weights are the softmax over the chosen scores, absent slots 0, and differentiable") {
  const at::Tensor r = some_numbers({2, 3, 6}, 2.0);
  const at::Tensor idx = at::tensor({-1, -1, 4, -1, 5, 0, 2, 1, 3, -1, 0, 5}, at::kInt).view({2, 3, 2});
  const at::Tensor w = retrieval_weights(r, idx);
  CHECK(w[0][0].abs().sum().item<double>() == 0.0);
  CHECK(w[0][1][0].item<double>() == 1.0);
  const double difference = (r[0][2][5] - r[0][2][0]).item<double>();
  CHECK(std::abs(w[0][2][0].item<double>() - 1 / (1 + std::exp(-difference))) <= 1e-14);
  CHECK(gradient_error([&](const std::vector<at::Tensor>& in) { return retrieval_weights(in[0], idx); },
                       {r}) <= 1e-8);
}

TEST_CASE("every uniform float that noise is made of lies strictly inside (0, 1)") {
  float least = 1.0F;
  float greatest = 0.0F;
  for (uint32_t top = 0; top < 1U << 24; ++top) {
    const float unit = gca::open_unit_float(top << 8);
    least = std::min(least, unit);
    greatest = std::max(greatest, unit);
  }
  CHECK(least == std::ldexp(0.5F, -24));
  CHECK(greatest < 1.0F);
  CHECK(std::isfinite(-std::log(-std::log(greatest))));
}

TEST_CASE("Gumbel noise is a function of its coordinates and has the distribution's moments") {
  const GumbelCoordinates here{.seed = 3, .step = 5, .group = 1, .batch_offset = 0, .first_query = 0};
  const at::Tensor noise = gumbel_noise(here, 4, 100, 250);
  GumbelCoordinates part = here;
  part.batch_offset = 2;
  part.first_query = 30;
  CHECK(at::equal(gumbel_noise(part, 1, 20, 100), noise.narrow(0, 2, 1).narrow(1, 30, 20).narrow(2, 0, 100)));
  for (const auto& other : {GumbelCoordinates{.seed = 4, .step = 5, .group = 1},
                            {.seed = 3, .step = 6, .group = 1},
                            {.seed = 3, .step = 5, .group = 0}})
    CHECK_FALSE(at::equal(gumbel_noise(other, 4, 100, 250), noise));
  // Mean: Euler's constant; variance: pi^2 / 6; 10^5 draws.
  CHECK(std::abs(noise.mean().item<double>() - 0.5772156649) <= 0.02);
  CHECK(std::abs(noise.var().item<double>() - 1.6449340668) <= 0.05);
  CHECK(at::isfinite(noise).all().item<bool>());
}
