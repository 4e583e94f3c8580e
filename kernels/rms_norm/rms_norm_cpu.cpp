// The norm on a CPU, a row at a time. Bound by memory: forward reads residual and update once and writes
// their sum and y; backward reads dy, x and dsum once and writes dx, twice where the update has another type.
// A row stays in the first-level cache between its statistics and its result.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "kernels/common/row_kernels.h"
#include "kernels/rms_norm/rms_norm_versions.h"

namespace gca::kernels {
namespace {

// Rows whose share of dweight is summed together, whatever the number of threads.
constexpr int64_t kRowBlock = 64;
// Rows that are worth a thread.
constexpr int64_t kGrain = 16;

/// Calls `body(kernels, element)` with the row functions for `type`, float32 or bf16, and a null pointer to
/// its elements.
template <typename Body>
void with_compute_type(at::ScalarType type, Body body) {
  if (type == at::kBFloat16)
    body(row_kernels().of_bf16, static_cast<uint16_t*>(nullptr));
  else
    body(row_kernels().of_float, static_cast<float*>(nullptr));
}

template <typename Element>
const Element* data_or_null(const at::Tensor& tensor, const Element*) {
  return tensor.defined() ? static_cast<const Element*>(tensor.const_data_ptr()) : nullptr;
}

}  // namespace

NormForward rms_norm_forward_cpu(const at::Tensor& residual, const at::Tensor& update_in,
                                 const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
  const int64_t d = weight.numel();
  const int64_t rows = residual.numel() / d;
  const at::Tensor update = update_in.defined() ? update_in.to(out_dtype) : at::Tensor();
  NormForward result;
  result.x = update.defined() ? at::empty_like(residual) : residual;
  result.y = at::empty(residual.sizes(), residual.options().dtype(out_dtype));
  result.inverse_rms = at::empty({rows}, residual.options());
  const auto* x = residual.const_data_ptr<float>();
  auto* sum = update.defined() ? result.x.mutable_data_ptr<float>() : nullptr;
  auto* rms = result.inverse_rms.mutable_data_ptr<float>();
  const auto* w = weight.const_data_ptr<float>();
  with_compute_type(out_dtype, [&]<typename Element>(const RowKernels<Element>& kernels, Element* none) {
    auto* y = static_cast<Element*>(result.y.mutable_data_ptr());
    const Element* added = data_or_null(update, none);
    at::parallel_for(0, rows, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t place = row * d;
        kernels.add_rms_norm(d, x + place, added == nullptr ? nullptr : added + place, w,
                             static_cast<float>(eps), sum == nullptr ? nullptr : sum + place, y + place,
                             rms + row);
      }
    });
  });
  return result;
}

NormGradients rms_norm_backward_cpu(const at::Tensor& dsum, const at::Tensor& dy, const at::Tensor& x,
                                    const at::Tensor& weight, const at::Tensor& inverse_rms,
                                    std::optional<at::ScalarType> update_dtype) {
  const int64_t d = weight.numel();
  const int64_t rows = x.numel() / d;
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  const bool writes_update = update_dtype && *update_dtype == dy.scalar_type();
  NormGradients result;
  result.dx = at::empty_like(x);
  if (writes_update) result.dupdate = at::empty(x.sizes(), dy.options());
  at::Tensor partial = at::zeros({blocks, d}, x.options());
  const auto* x_data = x.const_data_ptr<float>();
  const auto* w = weight.const_data_ptr<float>();
  const auto* rms = inverse_rms.const_data_ptr<float>();
  const auto* dsum_data = dsum.defined() ? dsum.const_data_ptr<float>() : nullptr;
  auto* dx = result.dx.mutable_data_ptr<float>();
  auto* dweight = partial.mutable_data_ptr<float>();
  with_compute_type(dy.scalar_type(), [&]<typename Element>(const RowKernels<Element>& kernels, Element*) {
    const auto* dy_data = static_cast<const Element*>(dy.const_data_ptr());
    auto* dupdate = writes_update ? static_cast<Element*>(result.dupdate.mutable_data_ptr()) : nullptr;
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t last = std::min(rows, (block + 1) * kRowBlock);
        for (int64_t row = block * kRowBlock; row < last; ++row) {
          const int64_t place = row * d;
          kernels.rms_norm_backward(d, dy_data + place, x_data + place, w, rms[row],
                                    dsum_data == nullptr ? nullptr : dsum_data + place, dx + place,
                                    dupdate == nullptr ? nullptr : dupdate + place, dweight + block * d);
        }
      }
    });
  });
  if (update_dtype && !writes_update) result.dupdate = result.dx.to(*update_dtype);
  result.dweight = at::sum(partial, 0);
  return result;
}

}  // namespace gca::kernels
