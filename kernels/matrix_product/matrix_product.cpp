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

at::ScalarType wide_type(const at::Tensor& a) {
  return a.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

ProductTarget target_of(at::Tensor& c) {
  ProductTarget target{.stride = c.stride(0)};
  if (c.scalar_type() == at::kBFloat16)
    target.rounded = static_cast<uint16_t*>(c.mutable_data_ptr());
  else
    target.sums = c.mutable_data_ptr<float>();
  return target;
}

/// The kernels for these operands, or null where they go to the library.
const Bf16TileKernels* own_kernels(const at::Tensor& a, at::ScalarType out_dtype) {
  if (a.scalar_type() != at::kBFloat16 || !a.device().is_cpu()) return nullptr;
  if (out_dtype != at::kBFloat16 && out_dtype != at::kFloat) return nullptr;
  return implementation() == Implementation::reference ? nullptr : bf16_tile_kernels();
}

at::Tensor library_product(const at::Tensor& a, const at::Tensor& b, at::ScalarType wide) {
  if (a.scalar_type() == wide) return at::mm(a, b);
  return a.device().is_cpu() ? at::mm(a.to(wide), b.to(wide)) : at::mm(a, b, wide);
}

void check_pair(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && a.scalar_type() == b.scalar_type(),
              "matrix_product: a is ", a.sizes(), " ", a.scalar_type(), ", b is ", b.sizes(), " ",
              b.scalar_type());
}

}  // namespace

at::Tensor sum_of_matrix_products(std::span<const MatrixPair> pairs, at::ScalarType out_dtype) {
  for (const MatrixPair& pair : pairs) check_pair(pair.a, pair.b);
  const Bf16TileKernels* kernels = own_kernels(pairs[0].a, out_dtype);
  if (kernels == nullptr) {
    const bool rounds_once = !pairs[0].a.device().is_cpu() && out_dtype == pairs[0].a.scalar_type();
    if (pairs.size() == 1 && rounds_once) return at::mm(pairs[0].a, pairs[0].b);
    const at::ScalarType wide = wide_type(pairs[0].a);
    at::Tensor sum = library_product(pairs[0].a, pairs[0].b, wide);
    for (const MatrixPair& pair : pairs.subspan(1)) sum.add_(library_product(pair.a, pair.b, wide));
    return sum.to(out_dtype);
  }
  const NamedWork work("gca::matrix_product");
  std::vector<MatrixPair> kept;  // what the views point into
  std::vector<RightMatrix> right;
  LeftMatrices left{pairs[0].a.size(0), {}};
  for (const MatrixPair& pair : pairs) {
    kept.push_back({with_dense_lines(pair.a), with_dense_lines(pair.b)});
    left.a.push_back(view_of(kept.back().a));
    right.push_back({view_of(kept.back().b), pair.a.size(1)});
  }
  at::Tensor c = at::empty({left.rows, pairs[0].b.size(1)}, pairs[0].a.options().dtype(out_dtype));
  const ProductTarget target = target_of(c);
  blocked_product_to(*kernels, c.size(1), right, {&left, 1}, {&target, 1});
  return c;
}

at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b, at::ScalarType out_dtype) {
  const MatrixPair pair{a, b};
  return sum_of_matrix_products({&pair, 1}, out_dtype);
}

std::vector<at::Tensor> matrix_products(std::span<const at::Tensor> a, const at::Tensor& b,
                                        at::ScalarType out_dtype) {
  std::vector<at::Tensor> results;
  for (const at::Tensor& one : a) check_pair(one, b);
  const Bf16TileKernels* kernels = own_kernels(b, out_dtype);
  if (kernels == nullptr) {
    for (const at::Tensor& one : a) results.push_back(matrix_product(one, b, out_dtype));
    return results;
  }
  const NamedWork work("gca::matrix_product");
  const at::Tensor dense_b = with_dense_lines(b);
  std::vector<at::Tensor> kept;
  std::vector<LeftMatrices> left;
  std::vector<ProductTarget> targets;
  for (const at::Tensor& one : a) {
    kept.push_back(with_dense_lines(one));
    left.push_back({one.size(0), {view_of(kept.back())}});
    results.push_back(at::empty({one.size(0), b.size(1)}, b.options().dtype(out_dtype)));
    targets.push_back(target_of(results.back()));
  }
  const RightMatrix right{view_of(dense_b), b.size(0)};
  blocked_product_to(*kernels, b.size(1), {&right, 1}, left, targets);
  return results;
}

void add_matrix_product(at::Tensor& c, const at::Tensor& a, const at::Tensor& b) {
  check_pair(a, b);
  const Bf16TileKernels* kernels = own_kernels(a, c.scalar_type());
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
  const at::Tensor dense_a = with_dense_lines(a);
  const at::Tensor dense_b = with_dense_lines(b);
  const LeftMatrices left{a.size(0), {view_of(dense_a)}};
  const RightMatrix right{view_of(dense_b), b.size(0)};
  ProductTarget target = target_of(c);
  target.add = true;
  blocked_product_to(*kernels, c.size(1), {&right, 1}, {&left, 1}, {&target, 1});
}

}  // namespace gca::kernels
