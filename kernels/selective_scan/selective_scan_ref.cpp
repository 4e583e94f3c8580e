// The selective scan as its formula says it, position by position, for every type.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "kernels/selective_scan/selective_scan_versions.h"

namespace gca::kernels {
namespace {

template <typename T>
using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename S>
S sigmoid(S x) {
  return 1 / (1 + std::exp(-x));
}

template <typename S>
S softplus(S x) {
  return std::max(x, S{0}) + std::log1p(std::exp(-std::abs(x)));
}

/// The inputs as accessors.
template <typename T>
struct Views {
  explicit Views(const SelectiveScanInputs& in)
      : u(in.u.accessor<T, 3>()),
        delta(in.delta.accessor<T, 3>()),
        z(in.z.accessor<T, 3>()),
        b(in.b.accessor<T, 3>()),
        c(in.c.accessor<T, 3>()),
        a_log(in.a_log.accessor<Sum<T>, 2>()),
        d(in.d.accessor<Sum<T>, 1>()),
        delta_bias(in.delta_bias.accessor<Sum<T>, 1>()) {}

  int64_t states() const { return a_log.size(1); }
  Sum<T> wide(const at::TensorAccessor<T, 3>& x, int64_t row, int64_t t, int64_t e) const {
    return static_cast<Sum<T>>(x[row][t][e]);
  }
  Sum<T> step(int64_t row, int64_t t, int64_t e) const {
    return softplus(wide(delta, row, t, e) + delta_bias[e]);
  }
  Sum<T> decay(int64_t row, int64_t t, int64_t e, int64_t n) const {
    return std::exp(-step(row, t, e) * std::exp(a_log[e][n]));
  }
  /// y before the gate, of the states (N) after position t.
  Sum<T> sum(int64_t row, int64_t t, int64_t e, const std::vector<Sum<T>>& after) const {
    Sum<T> y = d[e] * wide(u, row, t, e);
    for (int64_t n = 0; n < states(); ++n) y += after[static_cast<size_t>(n)] * wide(c, row, t, n);
    return y;
  }
  /// States (N) of a channel, moved on by position t.
  void advance(int64_t row, int64_t t, int64_t e, std::vector<Sum<T>>& s) const {
    const Sum<T> added = step(row, t, e) * wide(u, row, t, e);
    for (int64_t n = 0; n < states(); ++n) {
      Sum<T>& one = s[static_cast<size_t>(n)];
      one = decay(row, t, e, n) * one + added * wide(b, row, t, n);
    }
  }

  at::TensorAccessor<T, 3> u, delta, z, b, c;
  at::TensorAccessor<Sum<T>, 2> a_log;
  at::TensorAccessor<Sum<T>, 1> d, delta_bias;
};

template <typename T>
void forward(const SelectiveScanInputs& in, at::Tensor& out_tensor, at::Tensor& state_tensor,
             const at::Tensor& borders_tensor) {
  const Views<T> views(in);
  auto out = out_tensor.accessor<T, 3>();
  auto state = state_tensor.accessor<Sum<T>, 3>();
  std::vector<Sum<T>> s(static_cast<size_t>(views.states()));
  for (int64_t row = 0; row < out.size(0); ++row)
    for (int64_t e = 0; e < out.size(2); ++e) {
      for (int64_t n = 0; n < views.states(); ++n) s[static_cast<size_t>(n)] = state[row][n][e];
      for (int64_t t = 0; t < out.size(1); ++t) {
        if (borders_tensor.defined() && t % kScanChunk == 0)
          for (int64_t n = 0; n < views.states(); ++n)
            borders_tensor.accessor<Sum<T>, 4>()[row][t / kScanChunk][n][e] = s[static_cast<size_t>(n)];
        views.advance(row, t, e, s);
        const Sum<T> z = views.wide(views.z, row, t, e);
        out[row][t][e] = static_cast<T>(views.sum(row, t, e, s) * z * sigmoid(z));
      }
      for (int64_t n = 0; n < views.states(); ++n) state[row][n][e] = s[static_cast<size_t>(n)];
    }
}

/// Gradients arrive zeroed, in the accumulation type.
template <typename T>
void backward(const at::Tensor& dout_tensor, const SelectiveScanInputs& in, const ScanBackwardResult& to) {
  using S = Sum<T>;
  const Views<T> views(in);
  const auto dout = dout_tensor.accessor<T, 3>();
  auto du = to.du.accessor<S, 3>();
  auto ddelta = to.ddelta.accessor<S, 3>();
  auto dz = to.dz.accessor<S, 3>();
  auto db = to.db.accessor<S, 3>();
  auto dc = to.dc.accessor<S, 3>();
  auto da_log = to.da_log.accessor<S, 2>();
  auto dd = to.dd.accessor<S, 1>();
  auto ddelta_bias = to.ddelta_bias.accessor<S, 1>();
  const auto N = static_cast<size_t>(views.states());
  for (int64_t row = 0; row < dout.size(0); ++row)
    for (int64_t e = 0; e < dout.size(2); ++e) {
      std::vector<std::vector<S>> states = {std::vector<S>(N, S{0})};  // before each position, and at the end
      for (int64_t t = 0; t < dout.size(1); ++t) {
        states.push_back(states.back());
        views.advance(row, t, e, states.back());
      }
      std::vector<S> ds(N, S{0});  // of the state after position t
      for (int64_t t = dout.size(1) - 1; t >= 0; --t) {
        const std::vector<S>& before = states[static_cast<size_t>(t)];
        const std::vector<S>& after = states[static_cast<size_t>(t) + 1];
        const S u = views.wide(views.u, row, t, e);
        const S z = views.wide(views.z, row, t, e);
        const S dt = views.step(row, t, e);
        const auto g = static_cast<S>(dout[row][t][e]);
        const S dy = g * z * sigmoid(z);
        dz[row][t][e] = g * views.sum(row, t, e, after) * sigmoid(z) * (1 + z * (1 - sigmoid(z)));
        dd[e] += dy * u;
        du[row][t][e] = dy * views.d[e];
        S ddt = 0;
        for (size_t n = 0; n < N; ++n) {
          const auto state_number = static_cast<int64_t>(n);
          const S decay = views.decay(row, t, e, state_number);
          const S a = -std::exp(views.a_log[e][state_number]);
          const S b = views.wide(views.b, row, t, state_number);
          dc[row][t][state_number] += dy * after[n];
          ds[n] += dy * views.wide(views.c, row, t, state_number);
          db[row][t][state_number] += ds[n] * dt * u;
          du[row][t][e] += ds[n] * dt * b;
          ddt += ds[n] * (u * b + before[n] * decay * a);
          da_log[e][state_number] += ds[n] * before[n] * decay * dt * a;
          ds[n] *= decay;
        }
        ddelta[row][t][e] = ddt * sigmoid(views.wide(views.delta, row, t, e) + views.delta_bias[e]);
        ddelta_bias[e] += ddelta[row][t][e];
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

ScanForwardResult selective_scan_forward_reference(const SelectiveScanInputs& in, const at::Tensor& state,
                                                   bool keeps_borders) {
  ScanForwardResult result{at::empty(in.u.sizes(), in.u.options()), state.clone(), {}};
  const int64_t chunks = (in.u.size(1) + kScanChunk - 1) / kScanChunk;
  if (keeps_borders)
    result.borders = at::empty({in.u.size(0), chunks, state.size(1), state.size(2)}, state.options());
  with_element_type(
      in.u, [&](auto element) { forward<decltype(element)>(in, result.out, result.state, result.borders); });
  return result;
}

ScanBackwardResult selective_scan_backward_reference(const at::Tensor& dout, const SelectiveScanInputs& in) {
  const at::TensorOptions wide = in.a_log.options();
  const auto zeros_like = [&](const at::Tensor& x) { return at::zeros(x.sizes(), wide); };
  const ScanBackwardResult sums{zeros_like(in.u), zeros_like(in.delta),     zeros_like(in.z),
                                zeros_like(in.b), zeros_like(in.c),         zeros_like(in.a_log),
                                zeros_like(in.d), zeros_like(in.delta_bias)};
  with_element_type(in.u, [&](auto element) { backward<decltype(element)>(dout, in, sums); });
  const at::ScalarType type = in.u.scalar_type();
  return {sums.du.to(type), sums.ddelta.to(type), sums.dz.to(type), sums.db.to(type),
          sums.dc.to(type), sums.da_log,          sums.dd,          sums.ddelta_bias};
}

}  // namespace gca::kernels
