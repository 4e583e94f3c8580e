// Matrix products of every version against products in double, over shapes about the edges of panels, chunks
// and depth blocks, both layouts of each operand.

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "kernels/common/implementation.h"
#include "kernels/matrix_product/matrix_product.h"
#include "tests/kernels/attention_test_support.h"
#include "tests/support/gradcheck.h"

namespace gca::kernels {
namespace {

using gca::testing::some_numbers;

/// The numbers inside NaN, with rows (or columns, transposed) side by side.
at::Tensor matrix(int64_t rows, int64_t columns, bool transposed, double phase, at::ScalarType type) {
  const at::Tensor values = some_numbers({rows, columns}, 1.0, phase).to(type);
  return transposed ? guarded(values.t().contiguous()).t() : guarded(values);
}

constexpr Implementation kVersions[] = {Implementation::fast, Implementation::reference,
                                        Implementation::emulated};

struct ProductShape {
  int64_t rows, depth, columns;
};
const ProductShape kShapes[] = {{1, 1, 1},     {5, 7, 3},        {49, 64, 65},   {96, 33, 130},
                                {200, 65, 20}, {1, 2051, 100},   {97, 2100, 65}, {50, 4099, 17},
                                {600, 48, 64}, {130, 3000, 2100}};

TEST_CASE("matrix product: every version, both layouts, any size") {
  for (const ProductShape& shape : kShapes) {
    for (const bool a_transposed : {false, true}) {
      for (const bool b_transposed : {false, true}) {
        for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
          const at::Tensor a = matrix(shape.rows, shape.depth, a_transposed, 0.3, type);
          const at::Tensor b = matrix(shape.depth, shape.columns, b_transposed, 0.7, type);
          const at::Tensor truth = at::matmul(a.to(at::kDouble), b.to(at::kDouble));
          for (const Implementation version : kVersions) {
            const ImplementationGuard guard(version);
            CAPTURE(shape.rows);
            CAPTURE(shape.depth);
            CAPTURE(shape.columns);
            CAPTURE(a_transposed);
            CAPTURE(b_transposed);
            CAPTURE(static_cast<int>(version));
            const at::Tensor sums = matrix_product(a, b, at::kFloat);
            CHECK((sums.scalar_type() == at::kFloat));
            CHECK(relative_error(sums, truth) <= 2e-5);
            CHECK(relative_error(matrix_product(a, b, at::kBFloat16), truth) <= 0.004);
          }
        }
      }
    }
  }
}

TEST_CASE("matrix product: sums of several products, and added to what is there") {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t depth : {3, 100, 900}) {
      std::vector<MatrixPair> pairs;
      at::Tensor truth = at::zeros({70, 90}, at::kDouble);
      for (int t = 0; t < 3; ++t) {
        pairs.push_back(
            {matrix(70, depth + t, t == 1, 0.1 + t, type), matrix(depth + t, 90, t == 2, 0.5 + t, type)});
        truth += at::matmul(pairs.back().a.to(at::kDouble), pairs.back().b.to(at::kDouble));
      }
      for (const Implementation version : kVersions) {
        const ImplementationGuard guard(version);
        CAPTURE(static_cast<int>(version));
        CAPTURE(depth);
        CHECK(relative_error(sum_of_matrix_products(pairs, at::kFloat), truth) <= 2e-5);
        at::Tensor c = at::full({70, 90}, 0.5, at::kFloat);
        add_matrix_product(c, pairs[1].a, pairs[1].b);
        const at::Tensor one = at::matmul(pairs[1].a.to(at::kDouble), pairs[1].b.to(at::kDouble)) + 0.5;
        CHECK(relative_error(c, one) <= 2e-5);
      }
    }
  }
}

TEST_CASE("matrix product: the same bits with any number of threads") {
  for (const ProductShape& shape : {ProductShape{300, 100, 200}, {7, 64, 1000}, {130, 2500, 70}}) {
    const at::Tensor a = matrix(shape.rows, shape.depth, false, 0.3, at::kBFloat16);
    const at::Tensor b = matrix(shape.depth, shape.columns, true, 0.7, at::kBFloat16);
    const ImplementationGuard guard(Implementation::emulated);
    at::Tensor of_one_thread;
    for (const int threads : {1, 2, 3}) {
      const ThreadCountGuard thread_guard(threads);
      const at::Tensor c = matrix_product(a, b, at::kFloat);
      if (threads == 1) of_one_thread = c;
      CHECK(same_bits(c, of_one_thread));
    }
  }
}

TEST_CASE("matrix product: operands that do not fit are refused") {
  const at::Tensor a = matrix(3, 4, false, 0, at::kFloat), b = matrix(5, 3, false, 0, at::kFloat);
  CHECK_THROWS_AS(matrix_product(a, b, at::kFloat), c10::Error);
  CHECK_THROWS_AS(matrix_product(a, a.t().to(at::kBFloat16), at::kFloat), c10::Error);
}

}  // namespace
}  // namespace gca::kernels
