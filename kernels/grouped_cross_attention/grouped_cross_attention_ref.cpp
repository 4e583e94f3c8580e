// Grouped cross-attention, the plain reference: every formula of grouped_cross_attention.h as a loop over
// positions, heads, slots and keys. Nothing bounds its speed but its plainness.
//
//   float32, double   everything in the type itself
//   bfloat16          sums and statistics in float32; the probabilities and dS are rounded to bfloat16 before their
//                     products, as a version on bfloat16 tile products does
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/grouped_cross_attention/grouped_cross_attention_versions.h"

namespace gca::kernels {
namespace {

/// What a product on operands of type T sees of a value computed in its accumulation type.
template <typename T>
at::opmath_type<T> rounded(at::opmath_type<T> value) {
  return static_cast<at::opmath_type<T>>(static_cast<T>(value));
}

template <typename T>
void forward(at::Tensor& out_tensor, at::Tensor& lse_tensor, const at::Tensor& q_tensor,
             const at::Tensor& k_tensor, const at::Tensor& v_tensor, const at::Tensor& idx_tensor,
             const at::Tensor& w_tensor, const GcaOptions& options) {
  using Sum = at::opmath_type<T>;
  const auto q = q_tensor.accessor<T, 4>();
  const auto k = k_tensor.accessor<T, 5>();
  const auto v = v_tensor.accessor<T, 5>();
  const auto idx = idx_tensor.accessor<int32_t, 3>();
  const auto w = w_tensor.accessor<Sum, 3>();
  auto out = out_tensor.accessor<T, 4>();
  auto lse = lse_tensor.accessor<Sum, 4>();
  const int64_t keys = k.size(2), heads = q.size(2), head_dim = q.size(3), slots = idx.size(2);
  const int64_t heads_per_kv = heads / k.size(3);
  const auto scale = static_cast<Sum>(options.scale);

  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t i = 0; i < q.size(1); ++i) {
      const int64_t row = (options.layout.first_offset + i) / options.layout.chunk_size;
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t kv_head = h / heads_per_kv;
        std::vector<Sum> total(head_dim, Sum{0});
        for (int64_t slot = 0; slot < slots; ++slot) {
          const int32_t chunk = idx[b][row][slot];
          if (chunk < 0) continue;

          std::vector<Sum> score(keys, Sum{0});
          Sum largest = options.softmax_one ? Sum{0} : -std::numeric_limits<Sum>::infinity();
          for (int64_t j = 0; j < keys; ++j) {
            for (int64_t e = 0; e < head_dim; ++e) {
              score[j] += static_cast<Sum>(q[b][i][h][e]) * static_cast<Sum>(k[b][chunk][j][kv_head][e]);
            }
            score[j] *= scale;
            largest = std::max(largest, score[j]);
          }
          Sum denominator = options.softmax_one ? std::exp(-largest) : Sum{0};
          for (int64_t j = 0; j < keys; ++j) denominator += std::exp(score[j] - largest);
          lse[b][i][h][slot] = largest + std::log(denominator);

          for (int64_t j = 0; j < keys; ++j) {
            const Sum p = rounded<T>(std::exp(score[j] - largest) / denominator);
            for (int64_t e = 0; e < head_dim; ++e) {
              total[e] += w[b][row][slot] * p * static_cast<Sum>(v[b][chunk][j][kv_head][e]);
            }
          }
        }
        for (int64_t e = 0; e < head_dim; ++e) out[b][i][h][e] = static_cast<T>(total[e]);
      }
    }
  }
}

/// The gradients arrive zeroed, in the accumulation type.
template <typename T>
void backward(at::Tensor& dq_tensor, at::Tensor& dk_tensor, at::Tensor& dv_tensor, at::Tensor& dw_tensor,
              const at::Tensor& dout_tensor, const at::Tensor& q_tensor, const at::Tensor& k_tensor,
              const at::Tensor& v_tensor, const at::Tensor& idx_tensor, const at::Tensor& w_tensor,
              const at::Tensor& lse_tensor, const GcaOptions& options) {
  using Sum = at::opmath_type<T>;
  const auto dout = dout_tensor.accessor<T, 4>();
  const auto q = q_tensor.accessor<T, 4>();
  const auto k = k_tensor.accessor<T, 5>();
  const auto v = v_tensor.accessor<T, 5>();
  const auto idx = idx_tensor.accessor<int32_t, 3>();
  const auto w = w_tensor.accessor<Sum, 3>();
  const auto lse = lse_tensor.accessor<Sum, 4>();
  auto dq = dq_tensor.accessor<Sum, 4>();
  auto dk = dk_tensor.accessor<Sum, 5>();
  auto dv = dv_tensor.accessor<Sum, 5>();
  auto dw = dw_tensor.accessor<Sum, 3>();
  const int64_t keys = k.size(2), heads = q.size(2), head_dim = q.size(3), slots = idx.size(2);
  const int64_t heads_per_kv = heads / k.size(3);
  const auto scale = static_cast<Sum>(options.scale);

  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t i = 0; i < q.size(1); ++i) {
      const int64_t row = (options.layout.first_offset + i) / options.layout.chunk_size;
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t kv_head = h / heads_per_kv;
        for (int64_t slot = 0; slot < slots; ++slot) {
          const int32_t chunk = idx[b][row][slot];
          if (chunk < 0) continue;
          const Sum weight = w[b][row][slot];

          std::vector<Sum> p(keys), dp(keys);
          Sum delta = 0;
          for (int64_t j = 0; j < keys; ++j) {
            Sum score = 0;
            for (int64_t e = 0; e < head_dim; ++e) {
              score += static_cast<Sum>(q[b][i][h][e]) * static_cast<Sum>(k[b][chunk][j][kv_head][e]);
              dp[j] += static_cast<Sum>(dout[b][i][h][e]) * static_cast<Sum>(v[b][chunk][j][kv_head][e]);
            }
            p[j] = std::exp(score * scale - lse[b][i][h][slot]);
            delta += p[j] * dp[j];
          }
          dw[b][row][slot] += delta;

          for (int64_t j = 0; j < keys; ++j) {
            const Sum weighted_p = weight * rounded<T>(p[j]);
            const Sum ds = rounded<T>(weight * p[j] * (dp[j] - delta));
            for (int64_t e = 0; e < head_dim; ++e) {
              dv[b][chunk][j][kv_head][e] += weighted_p * static_cast<Sum>(dout[b][i][h][e]);
              dq[b][i][h][e] += ds * static_cast<Sum>(k[b][chunk][j][kv_head][e]) * scale;
              dk[b][chunk][j][kv_head][e] += ds * static_cast<Sum>(q[b][i][h][e]) * scale;
            }
          }
        }
      }
    }
  }
}

/// Calls `body` with a value of the element type of `tensor`, one of the three that the operator takes.
template <typename Body>
void with_element_type(const at::Tensor& tensor, Body body) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return body(double{});
    case at::kBFloat16:
      return body(at::BFloat16{});
    default:
      return body(float{});
  }
}

}  // namespace

GcaForwardResult gca_forward_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                       const at::Tensor& idx, const at::Tensor& w,
                                       const GcaOptions& options) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::zeros({q.size(0), q.size(1), q.size(2), idx.size(2)}, w.options());
  with_element_type(q, [&](auto element) { forward<decltype(element)>(out, lse, q, k, v, idx, w, options); });
  return {out, lse};
}

GcaGradients gca_backward_reference(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, const at::Tensor& idx, const at::Tensor& w,
                                    const at::Tensor& lse, const GcaOptions& options) {
  at::Tensor dq = at::zeros(q.sizes(), w.options());
  at::Tensor dk = at::zeros(k.sizes(), w.options());
  at::Tensor dv = at::zeros(v.sizes(), w.options());
  at::Tensor dw = at::zeros(w.sizes(), w.options());
  with_element_type(q, [&](auto element) {
    backward<decltype(element)>(dq, dk, dv, dw, dout, q, k, v, idx, w, lse, options);
  });
  return {dq.to(q.scalar_type()), dk.to(q.scalar_type()), dv.to(q.scalar_type()), dw};
}

}  // namespace gca::kernels
