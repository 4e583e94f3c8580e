#include "kernels/matrix_product/matrix_product.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/common/named_work.h"
#include "kernels/matrix_product/blocked_product.h"

namespace gca::kernels {
namespace {

/// Rows or columns side by side.
at::Tensor with_dense_lines(const at::Tensor& matrix) {
  return matrix.stride(1) == 1 || matrix.stride(0) == 1 ? matrix : matrix.contiguous();
}

Bf16Matrix view_of(const at::Tensor& matrix) {
  const auto* data = static_cast<const uint16_t*>(matrix.const_data_ptr());
  if (matrix.stride(1) == 1) return {data, matrix.stride(0), false};
  return {data, matrix.stride(1), true};
}

/// The kernels for these operands, or null where they go to the library.
const Bf16TileKernels* own_kernels(const at::Tensor& a) {
  if (a.scalar_type() != at::kBFloat16 || !a.device().is_cpu()) return nullptr;
  return implementation() == Implementation::reference ? nullptr : bf16_tile_kernels();
}

struct Operands {
  std::vector<MatrixPair> kept;  // what the terms point into
  std::vector<ProductTerm> terms;

  explicit Operands(std::span<const MatrixPair> pairs) {
    for (const MatrixPair& pair : pairs) {
      kept.push_back({with_dense_lines(pair.a), with_dense_lines(pair.b)});
      terms.push_back({view_of(kept.back().a), view_of(kept.back().b), pair.a.size(1)});
    }
  }
};

at::Tensor library_product(const at::Tensor& a, const at::Tensor& b, at::ScalarType wide) {
  if (a.scalar_type() == at::kBFloat16 && a.device().is_cpu()) return at::mm(a.to(wide), b.to(wide));
  return at::mm(a, b).to(wide);
}

void check_pair(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && a.scalar_type() == b.scalar_type(),
              "matrix_product: a is ", a.sizes(), " ", a.scalar_type(), ", b is ", b.sizes(), " ",
              b.scalar_type());
}

}  // namespace

at::Tensor sum_of_matrix_products(std::span<const MatrixPair> pairs, at::ScalarType out_dtype) {
  for (const MatrixPair& pair : pairs) check_pair(pair.a, pair.b);
  const int64_t rows = pairs[0].a.size(0), columns = pairs[0].b.size(1);
  const Bf16TileKernels* kernels = own_kernels(pairs[0].a);
  if (kernels == nullptr || (out_dtype != at::kBFloat16 && out_dtype != at::kFloat)) {
    const at::ScalarType wide = pairs[0].a.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor sum = library_product(pairs[0].a, pairs[0].b, wide);
    for (const MatrixPair& pair : pairs.subspan(1)) sum.add_(library_product(pair.a, pair.b, wide));
    return sum.to(out_dtype);
  }
  const NamedWork work("gca::matrix_product");
  const Operands operands(pairs);
  at::Tensor c = at::empty({rows, columns}, pairs[0].a.options().dtype(out_dtype));
  if (out_dtype == at::kBFloat16) {
    auto* to = static_cast<uint16_t*>(c.mutable_data_ptr());
    blocked_product(*kernels, rows, columns, operands.terms,
                    [&](int64_t row, int64_t row_count, int64_t column, int64_t column_count,
                        const float* sums, int64_t stride) {
                      kernels->round_rows(row_count, column_count, sums, stride, to + row * columns + column,
                                          columns);
                    });
  } else {
    auto* to = c.mutable_data_ptr<float>();
    blocked_product(*kernels, rows, columns, operands.terms,
                    [&](int64_t row, int64_t row_count, int64_t column, int64_t column_count,
                        const float* sums, int64_t stride) {
                      tile_kernels().copy_rows(row_count, column_count, sums, stride,
                                               to + row * columns + column, columns);
                    });
  }
  return c;
}

at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b, at::ScalarType out_dtype) {
  const MatrixPair pair{a, b};
  return sum_of_matrix_products({&pair, 1}, out_dtype);
}

void add_matrix_product(at::Tensor& c, const at::Tensor& a, const at::Tensor& b) {
  check_pair(a, b);
  const Bf16TileKernels* kernels = own_kernels(a);
  if (kernels == nullptr) {
    if (a.scalar_type() == c.scalar_type())
      c.addmm_(a, b);
    else
      c.add_(library_product(a, b, c.scalar_type()));
    return;
  }
  TORCH_CHECK(c.scalar_type() == at::kFloat && c.stride(1) == 1,
              "add_matrix_product: c must be float32 rows");
  const NamedWork work("gca::matrix_product");
  const MatrixPair pair{a, b};
  const Operands operands({&pair, 1});
  auto* to = c.mutable_data_ptr<float>();
  const int64_t to_stride = c.stride(0);
  blocked_product(*kernels, c.size(0), c.size(1), operands.terms,
                  [&](int64_t row, int64_t row_count, int64_t column, int64_t column_count, const float* sums,
                      int64_t stride) {
                    tile_kernels().add_rows(row_count, column_count, sums, stride,
                                            to + row * to_stride + column, to_stride);
                  });
}

}  // namespace gca::kernels
