// linear_cross_entropy on a device, in blocks of columns, so that all rows' products are large ones: a first
// round gathers each row's maximum, sum and target logit, a second makes the logits again, dz from them, and
// both gradients. Bound by the products: five, where a version that kept the logits would take four.

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>

#include "kernels/linear_cross_entropy/linear_cross_entropy_versions.h"
#include "kernels/matrix_product/matrix_product.h"

namespace gca::kernels {
namespace {

/// Logits of a block: 512 MiB of float32.
constexpr int64_t kBlockLogits = int64_t{1} << 27;

TORCH_LIBRARY_FRAGMENT(gca, m) {
  // z (rows, columns) float32: logits of columns first_column, first_column + 1, ... of the vocabulary.
  m.def(
      "cross_entropy_statistics_(Tensor z, Tensor targets, int first_column, Tensor(a!) largest, "
      "Tensor(b!) sum, Tensor(c!) target_logit) -> ()");
  m.def(
      "cross_entropy_gradient(Tensor z, Tensor targets, int first_column, Tensor largest, Tensor sum, "
      "float scale) -> Tensor");
}

void add_statistics(const at::Tensor& z, const at::Tensor& targets, int64_t first_column, at::Tensor& largest,
                    at::Tensor& sum, at::Tensor& target_logit) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::cross_entropy_statistics_", "")
                             .typed<void(const at::Tensor&, const at::Tensor&, int64_t, at::Tensor&,
                                         at::Tensor&, at::Tensor&)>();
  op.call(z, targets, first_column, largest, sum, target_logit);
}

at::Tensor gradient_of_logits(const at::Tensor& z, const at::Tensor& targets, int64_t first_column,
                              const at::Tensor& largest, const at::Tensor& sum, double scale) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::cross_entropy_gradient", "")
                             .typed<at::Tensor(const at::Tensor&, const at::Tensor&, int64_t,
                                               const at::Tensor&, const at::Tensor&, double)>();
  return op.call(z, targets, first_column, largest, sum, scale);
}

}  // namespace

LossAndGradients linear_cross_entropy_columns(const at::Tensor& x, const at::Tensor& weight,
                                              const at::Tensor& targets, bool gradients,
                                              int64_t block_logits) {
  if (block_logits == 0) block_logits = kBlockLogits;
  const int64_t M = x.size(0);
  const int64_t V = weight.size(0);
  const int64_t columns = std::clamp<int64_t>(block_logits / M / 64 * 64, 64, V);
  const at::TensorOptions floats = x.options().dtype(at::kFloat);
  at::Tensor largest = at::empty({M}, floats);
  at::Tensor sum = at::empty({M}, floats);
  at::Tensor target_logit = at::empty({M}, floats);
  for (int64_t begin = 0; begin < V; begin += columns) {
    const at::Tensor block = weight.narrow(0, begin, std::min(columns, V - begin));
    add_statistics(matrix_product(x, block.t(), at::kFloat), targets, begin, largest, sum, target_logit);
  }
  LossAndGradients result;
  result.loss = at::log(sum) + largest - target_logit;
  if (!gradients) return result;
  result.dweight = at::empty(weight.sizes(), floats);
  at::Tensor dx = at::zeros(x.sizes(), floats);
  for (int64_t begin = 0; begin < V; begin += columns) {
    const int64_t count = std::min(columns, V - begin);
    const at::Tensor block = weight.narrow(0, begin, count);
    const at::Tensor z = matrix_product(x, block.t(), at::kFloat);
    const at::Tensor dz = gradient_of_logits(z, targets, begin, largest, sum, 1.0 / static_cast<double>(M));
    add_matrix_product(dx, dz, block);
    result.dweight.narrow(0, begin, count).copy_(matrix_product(dz.t(), x, at::kFloat));
  }
  result.dx = dx.to(x.scalar_type());
  return result;
}

}  // namespace gca::kernels
