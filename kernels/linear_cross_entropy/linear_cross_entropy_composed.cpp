// linear_cross_entropy composed of library calls: the reference in one block of all rows, the version of
// float32 in blocks of rows. Bound by three matrix products of the same size (logits, dx, dW); what lies
// between them is a few passes over a block of logits that stays near the cache.

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "kernels/linear_cross_entropy/linear_cross_entropy_versions.h"
#include "kernels/matrix_product/matrix_product.h"

namespace gca::kernels {

LossAndGradients linear_cross_entropy_composed(const at::Tensor& x, const at::Tensor& weight,
                                               const at::Tensor& targets, bool gradients, int64_t row_block) {
  const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t M = x.size(0);
  LossAndGradients result;
  result.loss = at::empty({M}, x.options().dtype(wide));
  if (gradients) {
    result.dx = at::empty_like(x);
    result.dweight = at::zeros(weight.sizes(), x.options().dtype(wide));
  }
  for (int64_t begin = 0; begin < M; begin += row_block) {
    const int64_t rows = std::min(row_block, M - begin);
    const at::Tensor x_block = x.narrow(0, begin, rows);
    const at::Tensor target_block = targets.narrow(0, begin, rows).unsqueeze(1);
    at::Tensor z = matrix_product(x_block, weight.t(), wide);  // (rows, V)
    const at::Tensor logsumexp = at::logsumexp(z, {1}, true);
    result.loss.narrow(0, begin, rows).copy_((logsumexp - z.gather(1, target_block)).squeeze(1));
    if (!gradients) continue;
    at::Tensor dz = z.sub_(logsumexp).exp_();
    dz.scatter_add_(1, target_block, at::full({rows, 1}, -1.0, dz.options()));
    dz.mul_(1.0 / static_cast<double>(M));
    const at::Tensor dz_compute = dz.to(x.scalar_type());
    result.dx.narrow(0, begin, rows).copy_(matrix_product(dz_compute, weight, x.scalar_type()));
    add_matrix_product(result.dweight, dz_compute.t(), x_block);
  }
  return result;
}

}  // namespace gca::kernels
