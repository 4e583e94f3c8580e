// Linear without gradients: few rows take a path of their own; the truth is a product in double.

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <utility>

#include "kernels/common/implementation.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_few_rows.h"
#include "tests/support/doctest.h"
#include "tests/support/gradcheck.h"

using namespace gca;
using namespace gca::kernels;
using namespace gca::testing;

TEST_CASE("linear: any number of rows, odd sizes, float32 and bf16") {
  const at::NoGradGuard no_grad;
  for (const Implementation version : {Implementation::fast, Implementation::reference}) {
    const ImplementationGuard guard(version);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const int64_t rows : {1, 2, 4, 5, 9}) {
        for (const auto& [out, in] : {std::pair<int64_t, int64_t>{1, 1}, {65, 7}, {130, 33}, {64, 256}}) {
          const at::Tensor x = some_numbers({1, rows, in}, 1.0, 0.3).to(dtype);
          const at::Tensor weight = some_numbers({out, in}, 1.0, 0.7).to(dtype);
          const at::Tensor y = linear(x, {weight, weight});
          REQUIRE((y.sizes() == at::IntArrayRef{1, rows, out}));
          CHECK((y.scalar_type() == dtype));
          const at::Tensor truth = at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
          const double scale = 1e-30 + truth.abs().max().item<double>();
          const double error = (y.to(at::kDouble) - truth).abs().max().item<double>() / scale;
          CAPTURE(rows);
          CAPTURE(out);
          CAPTURE(in);
          CHECK(error <= (dtype == at::kFloat ? 1e-6 : 0.0045));  // bf16: the result is rounded to 2^-8
        }
      }
    }
  }
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
  at::set_num_threads(threads);
  CHECK(at::equal(one, two));
  CHECK(takes_few_rows(x, weight));
  CHECK_FALSE(takes_few_rows(some_numbers({5, 300}).to(at::kFloat), weight));
  CHECK_FALSE(takes_few_rows(x.to(at::kDouble), weight.to(at::kDouble)));
  CHECK_FALSE(takes_few_rows(x, weight.t()));
}
