// The damped mean.
//   fast       loops over positions, channels of a block side by side
//   reference  the formula in ATen, a position at a time
// Bound by memory, so plain loops are vectorised well enough.

#include "kernels/damped_mean/damped_mean.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "kernels/common/flush_subnormals.h"
#include "kernels/common/implementation.h"
#include "kernels/common/named_work.h"

namespace gca::kernels {
namespace {

constexpr int64_t kChannels = 64;  // of a task

template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename Body>
void for_each_block(int64_t batch, int64_t channels, Body body) {
  const int64_t blocks = (channels + kChannels - 1) / kChannels;
  at::parallel_for(0, batch * blocks, 1, [&](int64_t begin, int64_t end) {
    [[maybe_unused]] const FlushSubnormals flush;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % blocks * kChannels;
      body(task / blocks, first, std::min(kChannels, channels - first));
    }
  });
}

/// `mean` (B, d) is moved on.
template <typename T>
void forward(const at::Tensor& x, const at::Tensor& share, const at::Tensor& mean, const at::Tensor& y) {
  const int64_t length = x.size(1);
  const int64_t d = x.size(2);
  const auto* a = share.const_data_ptr<Wide<T>>();
  for_each_block(x.size(0), d, [&](int64_t row, int64_t first, int64_t count) {
    const T* from = x.const_data_ptr<T>() + row * length * d + first;
    T* to = y.mutable_data_ptr<T>() + row * length * d + first;
    Wide<T>* m = mean.mutable_data_ptr<Wide<T>>() + row * d + first;
    for (int64_t t = 0; t < length; ++t, from += d, to += d)
      for (int64_t e = 0; e < count; ++e) {
        m[e] = a[first + e] * static_cast<Wide<T>>(from[e]) + (1 - a[first + e]) * m[e];
        to[e] = static_cast<T>(m[e]);
      }
  });
}

/// dx (B, L, d), and the gradients of a (B, d), a part for each text. With g_t = dy_t + (1 - a) g_(t+1):
///   dx_t = a g_t      da = sum_t g_t (x_t - y_(t-1))
template <typename T>
void backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& share, const at::Tensor& dx,
              const at::Tensor& dshare) {
  const int64_t length = x.size(1);
  const int64_t d = x.size(2);
  const auto* a = share.const_data_ptr<Wide<T>>();
  for_each_block(x.size(0), d, [&](int64_t row, int64_t first, int64_t count) {
    const int64_t place = row * length * d + first;
    const T* from = x.const_data_ptr<T>() + place;
    const T* gradient = dy.const_data_ptr<T>() + place;
    T* to = dx.mutable_data_ptr<T>() + place;
    // Means before each position, which were not kept: those that were written are rounded.
    std::vector<Wide<T>> before(static_cast<size_t>((length + 1) * count));
    for (int64_t t = 0; t < length; ++t)
      for (int64_t e = 0; e < count; ++e)
        before[static_cast<size_t>((t + 1) * count + e)] =
            a[first + e] * static_cast<Wide<T>>(from[t * d + e]) +
            (1 - a[first + e]) * before[static_cast<size_t>(t * count + e)];
    std::array<Wide<T>, kChannels> g = {};
    std::array<Wide<T>, kChannels> sum = {};
    for (int64_t t = length - 1; t >= 0; --t)
      for (int64_t e = 0; e < count; ++e) {
        const auto at_channel = static_cast<size_t>(e);
        const Wide<T> rest = 1 - a[first + e];
        g[at_channel] = static_cast<Wide<T>>(gradient[t * d + e]) + rest * g[at_channel];
        to[t * d + e] = static_cast<T>(a[first + e] * g[at_channel]);
        sum[at_channel] += g[at_channel] * (static_cast<Wide<T>>(from[t * d + e]) -
                                            before[static_cast<size_t>(t * count + e)]);
      }
    std::copy_n(sum.data(), count, dshare.mutable_data_ptr<Wide<T>>() + row * d + first);
  });
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

void check_arguments(const at::Tensor& x, const at::Tensor& rate) {
  const auto type = x.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kDouble,
              "damped_mean: x must be float32, bfloat16 or double, got ", type);
  TORCH_CHECK(x.dim() == 3 && rate.dim() == 1 && rate.size(0) == x.size(2) &&
                  rate.scalar_type() == (type == at::kDouble ? at::kDouble : at::kFloat),
              "damped_mean: x must be (B, L, d) and rate (d), float32 or double like x, got ", x.sizes(),
              " and ", rate.sizes());
}

class DampedMeanFunction : public torch::autograd::Function<DampedMeanFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x_in,
                            const at::Tensor& rate) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const at::Tensor x = x_in.contiguous();
    const at::Tensor share = at::sigmoid(rate);
    const at::Tensor y = at::empty(x.sizes(), x.options());
    const at::Tensor mean = at::zeros({x.size(0), x.size(2)}, share.options());
    with_element_type(x, [&](auto element) { kernels::forward<decltype(element)>(x, share, mean, y); });
    context->save_for_backward({x, share});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &share = saved[1];
    const at::Tensor dx = at::empty(x.sizes(), x.options());
    const at::Tensor dshare = at::empty({x.size(0), x.size(2)}, share.options());
    with_element_type(x, [&](auto element) {
      kernels::backward<decltype(element)>(gradients[0].contiguous(), x, share, dx, dshare);
    });
    return {dx, dshare.sum(0) * share * (1 - share)};
  }
};

at::Tensor damped_mean_reference(const at::Tensor& x, const at::Tensor& rate, at::Tensor& mean) {
  const at::Tensor share = at::sigmoid(rate);
  std::vector<at::Tensor> rows;
  for (int64_t t = 0; t < x.size(1); ++t) {
    mean = share * x.select(1, t).to(rate.scalar_type()) + (1 - share) * mean;
    rows.push_back(mean.to(x.scalar_type()));
  }
  return at::stack(rows, 1);
}

}  // namespace

at::Tensor damped_mean(const at::Tensor& x, const at::Tensor& rate) {
  const NamedWork work("gca::damped_mean");
  check_arguments(x, rate);
  if (implementation() != Implementation::reference) return DampedMeanFunction::apply(x, rate);
  at::Tensor mean = at::zeros({x.size(0), x.size(2)}, rate.options().requires_grad(false));
  return damped_mean_reference(x, rate, mean);
}

at::Tensor damped_mean_after(const at::Tensor& x_in, const at::Tensor& rate, at::Tensor& mean) {
  const NamedWork work("gca::damped_mean");
  check_arguments(x_in, rate);
  const at::NoGradGuard no_grad;
  const at::Tensor x = x_in.contiguous();
  mean =
      mean.defined() ? mean.clone() : at::zeros({x.size(0), x.size(2)}, rate.options().requires_grad(false));
  if (implementation() == Implementation::reference) return damped_mean_reference(x, rate, mean);
  const at::Tensor share = at::sigmoid(rate);
  const at::Tensor y = at::empty(x.sizes(), x.options());
  with_element_type(x, [&](auto element) { forward<decltype(element)>(x, share, mean, y); });
  return y;
}

}  // namespace gca::kernels
