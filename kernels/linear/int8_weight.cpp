#include "kernels/linear/int8_weight.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/common/named_work.h"
#include "kernels/common/row_kernels.h"

namespace gca::kernels {
namespace {

/// Elements that are worth a thread.
constexpr int64_t kGrain = int64_t{1} << 16;

int64_t rows_of_grain(int64_t in) {
  return std::max<int64_t>(1, kGrain / in);
}

/// The smallest power of two that is at least x >= 0; 0 for 0.
float power_of_two_from(float x) {
  int exponent = 0;
  const float fraction = std::frexp(x, &exponent);  // in [1/2, 1), or 0
  if (fraction == 0.0F) return 0.0F;
  return std::ldexp(1.0F, fraction == 0.5F ? exponent - 1 : exponent);
}

void quantise_row(int64_t in, const float* w, int8_t* q, float* scale) {
  constexpr float kLargest = 127.0F;
  float top = 0.0F;
  bool is_finite = true;
  for (int64_t i = 0; i < in; ++i) {
    top = std::max(top, std::abs(w[i]));
    is_finite = is_finite && std::isfinite(w[i]);
  }
  *scale = is_finite ? power_of_two_from(top / kLargest) : std::numeric_limits<float>::quiet_NaN();
  if (!(*scale > 0.0F)) {
    std::fill_n(q, in, int8_t{0});
    return;
  }
  for (int64_t i = 0; i < in; ++i) q[i] = static_cast<int8_t>(std::lrint(w[i] / *scale));
}

template <typename Element>
void restore(const Int8Weight& weight, const RowKernels<Element>& kernels, Element* to) {
  const int64_t in = weight.q.size(1);
  at::parallel_for(0, weight.q.size(0), rows_of_grain(in), [&](int64_t first, int64_t last) {
    const Int8Rows rows = weight.rows_from(first);
    kernels.restore_rows(last - first, in, rows.q, rows.scale, to + first * in);
  });
}

}  // namespace

Int8Rows Int8Weight::rows_from(int64_t first) const {
  return {q.const_data_ptr<int8_t>() + first * q.size(1), scale.const_data_ptr<float>() + first};
}

Int8Weight make_int8_weight(int64_t out, int64_t in) {
  return {at::zeros({out, in}, at::kChar), at::zeros({out}, at::kFloat)};
}

void quantise_weight(const at::Tensor& w, const Int8Weight& to) {
  TORCH_CHECK(w.sizes() == to.q.sizes() && w.scalar_type() == at::kFloat && w.is_contiguous(),
              "quantise_weight: w is ", w.sizes(), " ", w.scalar_type(), ", q is ", to.q.sizes());
  const int64_t in = w.size(1);
  const auto* from = w.const_data_ptr<float>();
  auto* q = to.q.mutable_data_ptr<int8_t>();
  auto* scale = to.scale.mutable_data_ptr<float>();
  at::parallel_for(0, w.size(0), rows_of_grain(in), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) quantise_row(in, from + row * in, q + row * in, scale + row);
  });
}

at::Tensor restore_weight(const Int8Weight& weight, at::ScalarType dtype) {
  const NamedWork work("gca::restore_weight");
  at::Tensor restored = at::empty(weight.q.sizes(), weight.scale.options().dtype(dtype));
  if (dtype == at::kFloat) {
    restore(weight, row_kernels().of_float, restored.mutable_data_ptr<float>());
  } else {
    TORCH_CHECK(dtype == at::kBFloat16, "restore_weight: float32 or bf16, not ", dtype);
    restore(weight, row_kernels().of_bf16, static_cast<uint16_t*>(restored.mutable_data_ptr()));
  }
  return restored;
}

}  // namespace gca::kernels
