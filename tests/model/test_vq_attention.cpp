// Codes for far keys: settings in which plain attention computes the same, and codebooks from step to step.

#include "lib/model/backbones/longvq/vq_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <doctest/doctest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "kernels/nearest_code/nearest_code.h"
#include "lib/model/backbones/longvq/codebook.h"
#include "tests/support/gradcheck.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kLength = 12;
constexpr int64_t kWindow = 3;
constexpr double kScale = 0.4;

/// Causal attention over everything, without positions; all (1, L, H, dh).
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto by_head = [](const at::Tensor& x) { return x.transpose(1, 2); };
  const at::Tensor place = at::arange(q.size(1));
  const at::Tensor later = place.unsqueeze(0) > place.unsqueeze(1);
  const at::Tensor scores = at::matmul(by_head(q), by_head(k).transpose(2, 3)) * kScale;
  const at::Tensor p = at::softmax(scores.masked_fill(later, -std::numeric_limits<double>::infinity()), -1);
  return by_head(at::matmul(p, by_head(v)));
}

at::Tensor some_rows(double phase) {
  return some_numbers({1, kLength, 2, 6}, 1.0, phase).detach().requires_grad_();
}

}  // namespace

TEST_CASE("codes for far keys: with the keys themselves as codes it is plain attention, gradients too") {
  std::vector<at::Tensor> results[2];
  for (const bool coded : {false, true}) {
    const at::Tensor q = some_rows(0), k = some_rows(1), v = some_rows(2);
    const at::Tensor codes = k.detach()[0].transpose(0, 1).contiguous();  // (H, L, dh)
    const at::Tensor out =
        coded ? model::vq_attention(q, k, v, codes, kernels::nearest_code(k, codes), kWindow, kScale,
                                    /*straight_through=*/true)
              : plain_attention(q, k, v);
    torch::autograd::backward({out}, {some_numbers(out.sizes(), 1.0, 3)});
    results[coded ? 1 : 0] = {out.detach(), q.grad(), k.grad(), v.grad()};
    if (!coded) continue;
    const at::NoGradGuard no_grad;
    model::FarKeys far;
    const at::Tensor first = model::read_codes(q.slice(1, 0, 7), k.slice(1, 0, 7), v.slice(1, 0, 7), codes, 0,
                                               kWindow, kScale, far);
    const at::Tensor rest = model::read_codes(q.slice(1, 7), k.slice(1, 7 - kWindow), v.slice(1, 7 - kWindow),
                                              codes, 7, kWindow, kScale, far);
    CHECK(largest_difference(at::cat({first, rest}, 1), results[0][0]) <= 1e-12);
    CHECK(far.count.sum().item<double>() == 2 * (kLength - kWindow));
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    CAPTURE(i);
    CHECK(largest_difference(results[1][i], results[0][i]) <= 1e-12);
  }
}

TEST_CASE("codes for far keys: without straight-through, keys beyond the window do not learn") {
  const at::Tensor q = some_rows(0), k = some_rows(1), v = some_rows(2);
  const at::Tensor codes = some_numbers({2, 5, 6}, 1.0, 4);
  const at::Tensor out = model::vq_attention(q, k, v, codes, kernels::nearest_code(k, codes), kWindow, kScale,
                                             /*straight_through=*/false);
  // Only the last position's result: its window is all that its gradient may reach.
  torch::autograd::backward({out.narrow(1, kLength - 1, 1).sum()}, {});
  CHECK(k.grad().narrow(1, 0, kLength - 1 - kWindow).abs().max().item<double>() == 0);
  CHECK(k.grad().narrow(1, kLength - 1 - kWindow, 1).abs().max().item<double>() > 0);
  CHECK(v.grad().narrow(1, 0, 1).abs().max().item<double>() > 0);
}

TEST_CASE("codes for far keys: over many blocks, by the codes as pair by pair") {
  // 300 positions: three blocks, the last one short. The codes of both forms are constant, so q and v have one gradient.
  std::vector<at::Tensor> results[2];
  for (const bool straight_through : {false, true}) {
    const auto leaf = [](double phase) {
      return some_numbers({2, 300, 2, 4}, 1.0, phase).detach().requires_grad_();
    };
    const at::Tensor q = leaf(0), k = leaf(1), v = leaf(2);
    const at::Tensor codes = some_numbers({2, 7, 4}, 1.0, 4);
    const at::Tensor out =
        model::vq_attention(q, k, v, codes, kernels::nearest_code(k, codes), 20, kScale, straight_through);
    torch::autograd::backward({out}, {some_numbers(out.sizes(), 1.0, 3)});
    results[straight_through ? 1 : 0] = {out.detach(), q.grad(), v.grad()};
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    CAPTURE(i);
    CHECK(largest_difference(results[1][i], results[0][i]) <= 1e-11);
  }
}

TEST_CASE(
    "codebook: counts and sums follow the keys of a step, however it is cut, and rare codes start again") {
  model::Codebook codebook;
  codebook.count.master = some_numbers({2, 3}, 0.5, 1).abs() + 1;
  codebook.sum.master = some_numbers({2, 3, 4}, 1.0, 2);
  const at::Tensor keys = some_numbers({4, 5, 2, 4}, 1.0, 3).to(at::kFloat).to(at::kDouble);
  const at::Tensor codes = codebook.codes();
  const at::Tensor z = kernels::nearest_code(keys, codes);
  model::KeyCounts whole, parts;
  whole.add(keys, z, 3, {.seed = 7, .step = 2, .layer = 1, .first_row = 0});
  for (const int64_t row : {2, 0})
    parts.add(keys.narrow(0, row, 2), z.narrow(0, row, 2), 3,
              {.seed = 7, .step = 2, .layer = 1, .first_row = row});
  CHECK(at::equal(whole.count, parts.count));
  CHECK(largest_difference(whole.sum, parts.sum) <= 1e-12);
  CHECK(at::equal(whole.fresh_keys, parts.fresh_keys));

  at::Tensor count = codebook.count.master * 0.9;
  at::Tensor sum = codebook.sum.master * 0.9;
  for (int64_t b = 0; b < 4; ++b)
    for (int64_t t = 0; t < 5; ++t)
      for (int64_t h = 0; h < 2; ++h) {
        // The nearest code, by its distance.
        const at::Tensor distance = (keys[b][t][h].unsqueeze(0) - codes[h]).square().sum(-1);
        const int64_t code = distance.argmin().item<int64_t>();
        CHECK(z[b][t][h].item<int64_t>() == code);
        count[h][code] += 0.1;
        sum[h][code] += 0.1 * keys[b][t][h];
      }
  model::Codebook revived;
  revived.count.master = codebook.count.master.clone();
  revived.sum.master = codebook.sum.master.clone();
  codebook.update(whole, 0.9, /*revival=*/0);
  CHECK(largest_difference(codebook.count.master, count) <= 1e-12);
  CHECK(largest_difference(codebook.sum.master, sum) <= 1e-12);

  // At a share of 1, every code that is rarer than the mean starts again, at a key of the step.
  revived.update(whole, 0.9, /*revival=*/1);
  for (int64_t h = 0; h < 2; ++h) {
    const double mean = count[h].mean().item<double>();
    for (int64_t code = 0; code < 3; ++code) {
      const bool is_rare = count[h][code].item<double>() < mean;
      CHECK(revived.count.master[h][code].item<double>() ==
            doctest::Approx(is_rare ? mean : count[h][code].item<double>()));
      const at::Tensor gap =
          (keys.select(2, h).flatten(0, 1) - revived.codes()[h][code].unsqueeze(0)).abs().amax(-1);
      CHECK((gap.min().item<double>() <= 1e-12) == is_rare);
    }
  }
}
