// Landmark attention, the plain reference: every formula of landmark_attention.h as a loop over positions,
// heads and keys.
//
//   float32, double   everything in the type itself
//   bfloat16          sums and statistics in float32; weights and dS are rounded to bfloat16 first
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/landmark_attention/landmark_attention_versions.h"

namespace gca::kernels {
namespace {

template <typename T>
using Sum = at::opmath_type<T>;

/// What a product on operands of type T sees of a value computed in its accumulation type.
template <typename T>
Sum<T> rounded(Sum<T> value) {
  return static_cast<Sum<T>>(static_cast<T>(value));
}

template <typename T>
using Rows = at::TensorAccessor<T, 4>;

template <typename T>
Sum<T> dot(const Rows<T>& x, const Rows<T>& y, int64_t b, int64_t i, int64_t j, int64_t h) {
  Sum<T> sum = 0;
  for (int64_t e = 0; e < x.size(3); ++e)
    sum += static_cast<Sum<T>>(x[b][i][h][e]) * static_cast<Sum<T>>(y[b][j][h][e]);
  return sum;
}

/// A softmax in place; returns the logarithm of its denominator.
template <typename S>
S softmax(std::vector<S>& scores) {
  const S largest = *std::max_element(scores.begin(), scores.end());
  S denominator = 0;
  for (S& s : scores) denominator += s = std::exp(s - largest);
  for (S& s : scores) s /= denominator;
  return largest + std::log(denominator);
}

/// The weights of query i of (b, h): what it gives to keys of its own block, to earlier landmarks, and inside
/// their blocks.
template <typename T>
struct Weights {
  int64_t first_own = 0;                    ///< own keys are this one and those after it
  std::vector<Sum<T>> common;               ///< a: of the own keys, then of the landmarks
  std::vector<std::vector<Sum<T>>> inside;  ///< b_c of every earlier block
  int64_t own_count = 0;
  Sum<T> lse = 0;

  Weights(const Rows<T>& q, const Rows<T>& k, int64_t b, int64_t i, int64_t h, int64_t S, Sum<T> scale) {
    const int64_t position = k.size(1) - q.size(1) + i;
    const int64_t block = position / S;
    first_own = block * S;
    own_count = std::min(position - first_own + 1, S - 1);
    for (int64_t j = 0; j < own_count; ++j) common.push_back(dot<T>(q, k, b, i, first_own + j, h) * scale);
    for (int64_t c = 0; c < block; ++c) {
      common.push_back(dot<T>(q, k, b, i, c * S + S - 1, h) * scale);
      inside.emplace_back();
      for (int64_t j = 0; j < S - 1; ++j) inside.back().push_back(dot<T>(q, k, b, i, c * S + j, h) * scale);
      softmax(inside.back());
    }
    lse = softmax(common);
  }
};

template <typename T>
void forward(at::Tensor& out_tensor, at::Tensor& lse_tensor, const at::Tensor& q_tensor,
             const at::Tensor& k_tensor, const at::Tensor& v_tensor, int64_t S, double scale) {
  const auto q = q_tensor.accessor<T, 4>();
  const auto k = k_tensor.accessor<T, 4>();
  const auto v = v_tensor.accessor<T, 4>();
  auto out = out_tensor.accessor<T, 4>();
  auto lse = lse_tensor.accessor<Sum<T>, 3>();
  const int64_t head_dim = q.size(3);
  for (int64_t b = 0; b < q.size(0); ++b)
    for (int64_t h = 0; h < q.size(2); ++h)
      for (int64_t i = 0; i < q.size(1); ++i) {
        const Weights<T> w(q, k, b, i, h, S, static_cast<Sum<T>>(scale));
        lse[b][h][i] = w.lse;
        std::vector<Sum<T>> total(static_cast<size_t>(head_dim), Sum<T>{0});
        const auto add = [&](Sum<T> weight, int64_t j) {
          for (int64_t e = 0; e < head_dim; ++e)
            total[static_cast<size_t>(e)] += rounded<T>(weight) * static_cast<Sum<T>>(v[b][j][h][e]);
        };
        for (int64_t j = 0; j < w.own_count; ++j) add(w.common[static_cast<size_t>(j)], w.first_own + j);
        for (size_t c = 0; c < w.inside.size(); ++c)
          for (int64_t j = 0; j < S - 1; ++j)
            add(w.common[static_cast<size_t>(w.own_count) + c] * w.inside[c][static_cast<size_t>(j)],
                static_cast<int64_t>(c) * S + j);
        for (int64_t e = 0; e < head_dim; ++e)
          out[b][i][h][e] = static_cast<T>(total[static_cast<size_t>(e)]);
      }
}

/// The gradients arrive zeroed, in the accumulation type.
template <typename T>
void backward(at::Tensor& dq_tensor, at::Tensor& dk_tensor, at::Tensor& dv_tensor,
              const at::Tensor& dout_tensor, const at::Tensor& q_tensor, const at::Tensor& k_tensor,
              const at::Tensor& v_tensor, const at::Tensor& out_tensor, int64_t S, double scale_double) {
  const auto dout = dout_tensor.accessor<T, 4>();
  const auto q = q_tensor.accessor<T, 4>();
  const auto k = k_tensor.accessor<T, 4>();
  const auto v = v_tensor.accessor<T, 4>();
  const auto out = out_tensor.accessor<T, 4>();
  auto dq = dq_tensor.accessor<Sum<T>, 4>();
  auto dk = dk_tensor.accessor<Sum<T>, 4>();
  auto dv = dv_tensor.accessor<Sum<T>, 4>();
  const int64_t head_dim = q.size(3);
  const auto scale = static_cast<Sum<T>>(scale_double);
  for (int64_t b = 0; b < q.size(0); ++b)
    for (int64_t h = 0; h < q.size(2); ++h)
      for (int64_t i = 0; i < q.size(1); ++i) {
        const Weights<T> w(q, k, b, i, h, S, scale);
        const Sum<T> common_gradient = dot<T>(dout, out, b, i, i, h);  // G
        const auto add = [&](int64_t j, Sum<T> weight, Sum<T> ds_exact) {
          const Sum<T> ds = rounded<T>(ds_exact);
          for (int64_t e = 0; e < head_dim; ++e) {
            dv[b][j][h][e] += rounded<T>(weight) * static_cast<Sum<T>>(dout[b][i][h][e]);
            dq[b][i][h][e] += ds * static_cast<Sum<T>>(k[b][j][h][e]) * scale;
            dk[b][j][h][e] += ds * static_cast<Sum<T>>(q[b][i][h][e]) * scale;
          }
        };
        for (int64_t j = 0; j < w.own_count; ++j) {
          const Sum<T> a = w.common[static_cast<size_t>(j)];
          add(w.first_own + j, a, a * (dot<T>(dout, v, b, i, w.first_own + j, h) - common_gradient));
        }
        for (size_t c = 0; c < w.inside.size(); ++c) {
          const int64_t first = static_cast<int64_t>(c) * S;
          const Sum<T> share = w.common[static_cast<size_t>(w.own_count) + c];
          std::vector<Sum<T>> g;
          Sum<T> block_gradient = 0;  // G_c
          for (int64_t j = 0; j < S - 1; ++j) {
            g.push_back(dot<T>(dout, v, b, i, first + j, h));
            block_gradient += w.inside[c][static_cast<size_t>(j)] * g.back();
          }
          for (int64_t j = 0; j < S - 1; ++j) {
            const Sum<T> weight = share * w.inside[c][static_cast<size_t>(j)];
            add(first + j, weight, weight * (g[static_cast<size_t>(j)] - block_gradient));
          }
          add(first + S - 1, 0, share * (block_gradient - common_gradient));
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

at::TensorOptions wide_options(const at::Tensor& q) {
  return q.options().dtype(q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

}  // namespace

LandmarkForwardResult landmark_forward_reference(const at::Tensor& q, const at::Tensor& k,
                                                 const at::Tensor& v, int64_t block_size, double scale) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, wide_options(q));
  with_element_type(q,
                    [&](auto element) { forward<decltype(element)>(out, lse, q, k, v, block_size, scale); });
  return {out, lse};
}

LandmarkGradients landmark_backward_reference(const at::Tensor& dout, const at::Tensor& q,
                                              const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                                              const at::Tensor& /*lse*/, int64_t block_size, double scale) {
  at::Tensor dq = at::zeros(q.sizes(), wide_options(q));
  at::Tensor dk = at::zeros(k.sizes(), wide_options(q));
  at::Tensor dv = at::zeros(v.sizes(), wide_options(q));
  with_element_type(q, [&](auto element) {
    backward<decltype(element)>(dq, dk, dv, dout, q, k, v, out, block_size, scale);
  });
  return {dq.to(q.scalar_type()), dk.to(q.scalar_type()), dv.to(q.scalar_type())};
}

}  // namespace gca::kernels
