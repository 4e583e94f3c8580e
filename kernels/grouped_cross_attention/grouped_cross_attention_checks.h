#pragma once
// What every version of grouped cross-attention asks of its arguments (grouped_cross_attention.h).

#include <ATen/core/Tensor.h>

#include "kernels/grouped_cross_attention/grouped_cross_attention.h"

namespace gca::kernels {

inline void check_gca_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const at::Tensor& idx, const at::Tensor& w, const ReadingLayout& layout) {
  constexpr auto name = "grouped_cross_attention: ";
  TORCH_CHECK(q.dim() == 4, name, "q must be (B, n, H, dh), got ", q.sizes());
  TORCH_CHECK(k.dim() == 5, name, "k must be (B, C, M, H_kv, dh), got ", k.sizes());
  TORCH_CHECK(k.sizes() == v.sizes(), name, "k ", k.sizes(), " and v ", v.sizes(), " must have one shape");
  TORCH_CHECK(k.size(0) == q.size(0) && k.size(4) == q.size(3), name, "k ", k.sizes(), " does not fit q ",
              q.sizes());
  TORCH_CHECK(k.size(2) >= 1, name, "a chunk must have a key, got k ", k.sizes());
  TORCH_CHECK(k.size(3) >= 1 && q.size(2) % k.size(3) == 0, name, "H_kv = ", k.size(3),
              " must divide H = ", q.size(2));
  TORCH_CHECK(layout.chunk_size >= 1 && layout.first_offset >= 0 && layout.first_offset < layout.chunk_size,
              name, "need 0 <= first_offset < chunk_size, got ", layout.first_offset, " and ",
              layout.chunk_size);
  const int64_t rows = (layout.first_offset + q.size(1) + layout.chunk_size - 1) / layout.chunk_size;
  TORCH_CHECK(idx.dim() == 3 && idx.size(0) == q.size(0) && idx.size(1) == rows, name, "idx must be (",
              q.size(0), ", ", rows, ", K), got ", idx.sizes());
  TORCH_CHECK(w.sizes() == idx.sizes(), name, "w ", w.sizes(), " and idx ", idx.sizes(),
              " must have one shape");

  const auto type = q.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kDouble, name,
              "q must be float32, bfloat16 or double, got ", type);
  TORCH_CHECK(k.scalar_type() == type && v.scalar_type() == type, name, "k and v must be ", type, " like q");
  TORCH_CHECK(idx.scalar_type() == at::kInt, name, "idx must be int32, got ", idx.scalar_type());
  const auto w_type = type == at::kDouble ? at::kDouble : at::kFloat;
  TORCH_CHECK(w.scalar_type() == w_type, name, "w must be ", w_type, ", got ", w.scalar_type());
}

inline void check_gca_gradient_arguments(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& idx,
                                         const at::Tensor& w, const at::Tensor& lse) {
  TORCH_CHECK(dout.sizes() == q.sizes() && dout.scalar_type() == q.scalar_type(),
              "grouped_cross_attention: dout must have shape and type of q, got ", dout.sizes());
  TORCH_CHECK(lse.dim() == 4 && lse.size(0) == q.size(0) && lse.size(1) == q.size(1) &&
                  lse.size(2) == q.size(2) && lse.size(3) == idx.size(2) &&
                  lse.scalar_type() == w.scalar_type(),
              "grouped_cross_attention: lse must be the forward's (B, n, H, K), got ", lse.sizes());
}

}  // namespace gca::kernels
