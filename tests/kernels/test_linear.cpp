// Linear without gradients: few rows take a path of their own; the truth is a product in double.

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/common/implementation.h"
#include "kernels/common/instruction_set.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_few_rows.h"
#include "tests/support/doctest.h"
#include "tests/support/gradcheck.h"

using namespace gca;
using namespace gca::kernels;
using namespace gca::testing;

namespace {

/// `check(dtype, rows, out, in)` for both implementations, in float32 and bf16, with few rows and odd sizes.
template <class Check>
void for_each_shape(const Check& check) {
  for (const Implementation version : {Implementation::fast, Implementation::reference}) {
    const ImplementationGuard guard(version);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const int64_t rows : {1, 2, 4, 5, 9}) {
        for (const auto& pair : {std::pair<int64_t, int64_t>{1, 1}, {65, 7}, {130, 33}, {64, 256}}) {
          const auto& out = pair.first;
          const auto& in = pair.second;
          CAPTURE(rows);
          CAPTURE(out);
          CAPTURE(in);
          check(dtype, rows, out, in);
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("linear: any number of rows, odd sizes, float32 and bf16") {
  const at::NoGradGuard no_grad;
  for_each_shape([](at::ScalarType dtype, int64_t rows, int64_t out, int64_t in) {
    const at::Tensor x = some_numbers({1, rows, in}, 1.0, 0.3).to(dtype);
    const at::Tensor weight = some_numbers({out, in}, 1.0, 0.7).to(dtype);
    const at::Tensor y = linear(x, {weight, weight});
    REQUIRE((y.sizes() == at::IntArrayRef{1, rows, out}));
    CHECK((y.scalar_type() == dtype));
    const at::Tensor truth = at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
    const double scale = 1e-30 + truth.abs().max().item<double>();
    const double error = (y.to(at::kDouble) - truth).abs().max().item<double>() / scale;
    CHECK(error <= (dtype == at::kFloat ? 1e-6 : 0.0045));  // bf16: the result is rounded to 2^-8
  });
}

TEST_CASE("int8 weights: half a step from what they were, and the same numbers in bf16 and float32") {
  at::Tensor w = some_numbers({7, 300}, 1.0, 0.7).to(at::kFloat);
  w[1].zero_();
  w[2].mul_(1e-3);
  w[3].fill_(127.0 / 1024);   // exactly 127 steps of a power of two
  w[4][5] = -127.0001 / 128;  // just above 127 steps
  w[5][5] = INFINITY;
  const Int8Weight weight = make_int8_weight(7, 300);
  quantise_weight(w, weight);
  const at::Tensor in_float = restore_weight(weight, at::kFloat);
  CHECK(at::equal(restore_weight(weight, at::kBFloat16).to(at::kFloat).slice(0, 0, 5),
                  in_float.slice(0, 0, 5)));
  for (const int64_t row : {0, 1, 2, 3, 4, 6}) {
    CAPTURE(row);
    const double scale = weight.scale[row].item<double>(), top = w[row].abs().max().item<double>();
    CHECK((in_float[row].to(at::kDouble) - w[row].to(at::kDouble)).abs().max().item<double>() <= scale / 2);
    CHECK(scale >= top / 127.001);
    CHECK((top == 0 ? scale == 0 : scale < 2 * top / 127));
    CHECK(weight.q[row].abs().max().item<int64_t>() <= 127);
    int exponent = 0;
    CHECK((scale == 0 || std::frexp(scale, &exponent) == 0.5));
    for (int64_t i = 0; i < w.size(1); ++i)
      CHECK(in_float[row][i].item<double>() == scale * weight.q[row][i].item<double>());
  }
  CHECK(in_float[5].isnan().all().item<bool>());  // damage is not hidden
}

TEST_CASE("linear with int8 weights: any number of rows, odd sizes, every instruction set and version") {
  const at::NoGradGuard no_grad;
  const std::string best = instruction_set().name;
  for (const InstructionSet& set : runnable_instruction_sets()) {
    use_instruction_set(set.name);
    CAPTURE(std::string(set.name));
    for_each_shape([](at::ScalarType dtype, int64_t rows, int64_t out, int64_t in) {
      const at::Tensor x = some_numbers({1, rows, in}, 1.0, 0.3).to(dtype);
      const at::Tensor w = some_numbers({out, in}, 1.0, 0.7).to(at::kFloat);
      const Int8Weight weight = make_int8_weight(out, in);
      quantise_weight(w, weight);
      const at::Tensor y = linear(x, {w, {}, weight});
      REQUIRE((y.sizes() == at::IntArrayRef{1, rows, out}));
      CHECK((y.scalar_type() == dtype));
      const at::Tensor wide_x = x.to(at::kDouble);
      const at::Tensor restored = weight.q.to(at::kDouble) * weight.scale.to(at::kDouble).unsqueeze(1);
      const at::Tensor truth = at::matmul(wide_x, restored.t());
      const at::Tensor error = (y.to(at::kDouble) - truth).abs();
      const double scale = 1e-30 + truth.abs().max().item<double>();
      const double rounding = dtype == at::kFloat ? 1e-6 : 0.0045;  // bf16: the result, to 2^-8
      CHECK(error.max().item<double>() <= rounding * scale);
      // What the whole numbers cost: half a step an element of x.
      const at::Tensor unquantised = at::matmul(wide_x, w.to(at::kDouble).t());
      const at::Tensor bound =
          wide_x.abs().sum(-1, /*keepdim=*/true) * weight.scale.to(at::kDouble) / 2 + rounding * scale;
      CHECK(((y.to(at::kDouble) - unquantised).abs() <= bound).all().item<bool>());
    });
  }
  use_instruction_set(best);
}

TEST_CASE("linear of few rows: the same bits for one and two threads, and not for what it does not take") {
  const at::NoGradGuard no_grad;
  const at::Tensor x = some_numbers({2, 300}, 1.0, 0.3).to(at::kFloat);
  const at::Tensor weight = some_numbers({1111, 300}, 1.0, 0.7).to(at::kFloat);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = linear_few_rows(x, weight, at::kFloat);
  at::set_num_threads(2);
  const at::Tensor two = linear_few_rows(x, weight, at::kFloat);
  const Int8Weight int8 = make_int8_weight(weight.size(0), weight.size(1));
  quantise_weight(weight, int8);
  const at::Tensor two_int8 = linear_few_rows(x, int8, at::kFloat);
  at::set_num_threads(1);
  CHECK(at::equal(linear_few_rows(x, int8, at::kFloat), two_int8));
  at::set_num_threads(threads);
  CHECK(at::equal(one, two));
  CHECK(takes_few_rows(x, weight));
  CHECK_FALSE(takes_few_rows(some_numbers({5, 300}).to(at::kFloat), weight));
  CHECK_FALSE(takes_few_rows(x.to(at::kDouble), weight.to(at::kDouble)));
  CHECK_FALSE(takes_few_rows(x, weight.t()));
}
