#pragma once
// What every version of sliding-window attention asks of its arguments (sliding_window_attention.h).

#include <ATen/core/Tensor.h>

namespace gca::kernels {

inline void check_window_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const at::Tensor& slopes, int64_t window) {
  constexpr auto name = "sliding_window_attention: ";
  TORCH_CHECK(q.dim() == 4, name, "q must be (B, n, H, dh), got ", q.sizes());
  TORCH_CHECK(k.sizes() == v.sizes(), name, "k ", k.sizes(), " and v ", v.sizes(), " must have one shape");
  TORCH_CHECK(k.dim() == 4 && k.size(0) == q.size(0) && k.size(1) >= q.size(1) && k.size(2) > 0 &&
                  q.size(2) % k.size(2) == 0 && k.size(3) == q.size(3),
              name, "k must be (B, P + n, H_kv, dh) for q ", q.sizes(), ", got ", k.sizes());
  TORCH_CHECK(slopes.dim() == 1 && slopes.size(0) == q.size(2), name, "slopes must be (", q.size(2),
              "), got ", slopes.sizes());
  TORCH_CHECK(window >= 0, name, "window must not be negative, got ", window);

  const auto type = q.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kDouble, name,
              "q must be float32, bfloat16 or double, got ", type);
  TORCH_CHECK(k.scalar_type() == type && v.scalar_type() == type, name, "k and v must be ", type, " like q");
  const auto slopes_type = type == at::kDouble ? at::kDouble : at::kFloat;
  TORCH_CHECK(slopes.scalar_type() == slopes_type, name, "slopes must be ", slopes_type, ", got ",
              slopes.scalar_type());
}

inline void check_window_gradient_arguments(const at::Tensor& dout, const at::Tensor& q,
                                            const at::Tensor& out, const at::Tensor& lse,
                                            const at::Tensor& slopes) {
  TORCH_CHECK(dout.sizes() == q.sizes() && dout.scalar_type() == q.scalar_type() &&
                  out.sizes() == q.sizes() && out.scalar_type() == q.scalar_type(),
              "sliding_window_attention: dout and out must have shape and type of q, got ", dout.sizes(),
              " and ", out.sizes());
  TORCH_CHECK(lse.dim() == 3 && lse.size(0) == q.size(0) && lse.size(1) == q.size(2) &&
                  lse.size(2) == q.size(1) && lse.scalar_type() == slopes.scalar_type(),
              "sliding_window_attention: lse must be the forward's (B, H, n), got ", lse.sizes());
}

}  // namespace gca::kernels
