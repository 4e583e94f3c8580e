// Sliding-window attention, the plain reference: every formula of sliding_window_attention.h as a loop over
// positions, heads and keys. Nothing bounds its speed but its plainness.
//
//   float32, double   everything in the type itself
//   bfloat16          sums and statistics in float32; the probabilities and dS are rounded to bfloat16 before their
//                     products, as a version on bfloat16 tile products does
//
// Gradients, with p the probabilities and D_i = <dO_i, out_i>:
//   dV_j += p_ij dO_i   dS_ij = p_ij (<dO_i, v_j> - D_i)   dq_i += dS_ij k_j scale   dk_j += dS_ij q_i scale
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/sliding_window_attention/sliding_window_attention_versions.h"

namespace gca::kernels {
namespace {

/// What a product on operands of type T sees of a value computed in its accumulation type.
template <typename T>
at::opmath_type<T> rounded(at::opmath_type<T> value) {
  return static_cast<at::opmath_type<T>>(static_cast<T>(value));
}

template <typename T>
void forward(at::Tensor& out_tensor, at::Tensor& lse_tensor, const at::Tensor& q_tensor,
             const at::Tensor& k_tensor, const at::Tensor& v_tensor, const at::Tensor& slopes_tensor,
             int64_t window, double scale_double) {
  using Sum = at::opmath_type<T>;
  const auto q = q_tensor.accessor<T, 4>();
  const auto k = k_tensor.accessor<T, 4>();
  const auto v = v_tensor.accessor<T, 4>();
  const auto slopes = slopes_tensor.accessor<Sum, 1>();
  auto out = out_tensor.accessor<T, 4>();
  auto lse = lse_tensor.accessor<Sum, 3>();
  const int64_t positions = q.size(1), past = k.size(1) - positions, head_dim = q.size(3);
  const auto scale = static_cast<Sum>(scale_double);

  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t h = 0; h < q.size(2); ++h) {
      for (int64_t i = 0; i < positions; ++i) {
        const int64_t last = past + i;  // the key at the query's own position
        const int64_t first = std::max<int64_t>(0, last - window);
        std::vector<Sum> score(last + 1 - first, Sum{0});
        Sum largest = -std::numeric_limits<Sum>::infinity();
        for (int64_t j = first; j <= last; ++j) {
          Sum product = 0;
          for (int64_t e = 0; e < head_dim; ++e) {
            product += static_cast<Sum>(q[b][i][h][e]) * static_cast<Sum>(k[b][j][h][e]);
          }
          score[j - first] = product * scale - slopes[h] * static_cast<Sum>(last - j);
          largest = std::max(largest, score[j - first]);
        }
        Sum denominator = 0;
        for (const Sum s : score) denominator += std::exp(s - largest);
        lse[b][h][i] = largest + std::log(denominator);

        std::vector<Sum> total(head_dim, Sum{0});
        for (int64_t j = first; j <= last; ++j) {
          const Sum p = rounded<T>(std::exp(score[j - first] - largest) / denominator);
          for (int64_t e = 0; e < head_dim; ++e) total[e] += p * static_cast<Sum>(v[b][j][h][e]);
        }
        for (int64_t e = 0; e < head_dim; ++e) out[b][i][h][e] = static_cast<T>(total[e]);
      }
    }
  }
}

/// The gradients arrive zeroed, in the accumulation type.
template <typename T>
void backward(at::Tensor& dq_tensor, at::Tensor& dk_tensor, at::Tensor& dv_tensor,
              const at::Tensor& dout_tensor, const at::Tensor& q_tensor, const at::Tensor& k_tensor,
              const at::Tensor& v_tensor, const at::Tensor& out_tensor, const at::Tensor& lse_tensor,
              const at::Tensor& slopes_tensor, int64_t window, double scale_double) {
  using Sum = at::opmath_type<T>;
  const auto dout = dout_tensor.accessor<T, 4>();
  const auto q = q_tensor.accessor<T, 4>();
  const auto k = k_tensor.accessor<T, 4>();
  const auto v = v_tensor.accessor<T, 4>();
  const auto out = out_tensor.accessor<T, 4>();
  const auto lse = lse_tensor.accessor<Sum, 3>();
  const auto slopes = slopes_tensor.accessor<Sum, 1>();
  auto dq = dq_tensor.accessor<Sum, 4>();
  auto dk = dk_tensor.accessor<Sum, 4>();
  auto dv = dv_tensor.accessor<Sum, 4>();
  const int64_t positions = q.size(1), past = k.size(1) - positions, head_dim = q.size(3);
  const auto scale = static_cast<Sum>(scale_double);

  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t h = 0; h < q.size(2); ++h) {
      for (int64_t i = 0; i < positions; ++i) {
        Sum delta = 0;  // D_i
        for (int64_t e = 0; e < head_dim; ++e) {
          delta += static_cast<Sum>(dout[b][i][h][e]) * static_cast<Sum>(out[b][i][h][e]);
        }
        const int64_t last = past + i;
        for (int64_t j = std::max<int64_t>(0, last - window); j <= last; ++j) {
          Sum product = 0, dp = 0;
          for (int64_t e = 0; e < head_dim; ++e) {
            product += static_cast<Sum>(q[b][i][h][e]) * static_cast<Sum>(k[b][j][h][e]);
            dp += static_cast<Sum>(dout[b][i][h][e]) * static_cast<Sum>(v[b][j][h][e]);
          }
          const Sum p = std::exp(product * scale - slopes[h] * static_cast<Sum>(last - j) - lse[b][h][i]);
          const Sum ds = rounded<T>(p * (dp - delta));
          for (int64_t e = 0; e < head_dim; ++e) {
            dv[b][j][h][e] += rounded<T>(p) * static_cast<Sum>(dout[b][i][h][e]);
            dq[b][i][h][e] += ds * static_cast<Sum>(k[b][j][h][e]) * scale;
            dk[b][j][h][e] += ds * static_cast<Sum>(q[b][i][h][e]) * scale;
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

WindowForwardResult window_forward_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                             const at::Tensor& slopes, int64_t window, double scale) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, slopes.options());
  with_element_type(
      q, [&](auto element) { forward<decltype(element)>(out, lse, q, k, v, slopes, window, scale); });
  return {out, lse};
}

WindowGradients window_backward_reference(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                          const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                          const at::Tensor& slopes, int64_t window, double scale) {
  at::Tensor dq = at::zeros(q.sizes(), slopes.options());
  at::Tensor dk = at::zeros(k.sizes(), slopes.options());
  at::Tensor dv = at::zeros(v.sizes(), slopes.options());
  with_element_type(q, [&](auto element) {
    backward<decltype(element)>(dq, dk, dv, dout, q, k, v, out, lse, slopes, window, scale);
  });
  return {dq.to(q.scalar_type()), dk.to(q.scalar_type()), dv.to(q.scalar_type())};
}

}  // namespace gca::kernels
