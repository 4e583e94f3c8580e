// y = weight * x * inverse_rms. Bound by memory: x is read once (twice where it leaves the cache), y written
// once.
//   fast       one pass a row, rows in parallel
//   reference  composed ATen calls

#include "kernels/rms_norm/rms_norm.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/common/implementation.h"

namespace gca::kernels {
namespace {

// Rows whose share of dweight is summed together, whatever the number of threads.
constexpr int64_t kRowBlock = 64;

using TensorPair = std::tuple<at::Tensor, at::Tensor>;

template <class Scalar, class Out>
void normalise_row(const Scalar* x, const Scalar* weight, int64_t d, Scalar eps, Out* y,
                   Scalar* inverse_rms) {
  Scalar squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < d; ++i) squares += x[i] * x[i];
  const Scalar scale = 1 / std::sqrt(squares / static_cast<Scalar>(d) + eps);
#pragma omp simd
  for (int64_t i = 0; i < d; ++i) y[i] = static_cast<Out>(weight[i] * (x[i] * scale));
  *inverse_rms = scale;
}

template <class Scalar, class Grad>
void backward_row(const Grad* dy, const Scalar* x, const Scalar* weight, Scalar inverse_rms, int64_t d,
                  Scalar* dx, Scalar* dweight) {
  Scalar projection = 0;  // sum of g * n
#pragma omp simd reduction(+ : projection)
  for (int64_t i = 0; i < d; ++i) projection += static_cast<Scalar>(dy[i]) * weight[i] * (x[i] * inverse_rms);
  const Scalar mean = projection / static_cast<Scalar>(d);
#pragma omp simd
  for (int64_t i = 0; i < d; ++i) {
    const auto g = static_cast<Scalar>(dy[i]);
    const Scalar n = x[i] * inverse_rms;
    dx[i] = inverse_rms * (g * weight[i] - n * mean);
    dweight[i] += g * n;
  }
}

TensorPair forward_reference(const at::Tensor& x, const at::Tensor& weight, double eps,
                             at::ScalarType out_dtype) {
  const at::Tensor inverse_rms = at::rsqrt(at::mean(x * x, -1, true) + eps);
  return {(weight * (x * inverse_rms)).to(out_dtype), inverse_rms.reshape({-1})};
}

TensorPair backward_reference(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                              const at::Tensor& inverse_rms) {
  const int64_t d = weight.numel();
  const at::Tensor rows = x.reshape({-1, d});
  const at::Tensor g = dy.to(x.scalar_type()).reshape({-1, d});
  const at::Tensor n = rows * inverse_rms.unsqueeze(-1);
  const at::Tensor gw = g * weight;
  const at::Tensor dx = inverse_rms.unsqueeze(-1) * (gw - n * at::mean(gw * n, -1, true));
  return {dx.reshape(x.sizes()), at::sum(g * n, 0)};
}

TensorPair forward_cpu(const at::Tensor& x_in, const at::Tensor& weight, double eps,
                       at::ScalarType out_dtype) {
  if (implementation() == Implementation::reference) return forward_reference(x_in, weight, eps, out_dtype);
  const at::Tensor x = x_in.contiguous();
  const int64_t d = weight.numel();
  const int64_t rows = x.numel() / d;
  at::Tensor y = at::empty(x.sizes(), x.options().dtype(out_dtype));
  at::Tensor inverse_rms = at::empty({rows}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_x", [&] {
    using Scalar = scalar_t;
    const auto* x_data = x.const_data_ptr<Scalar>();
    const auto* weight_data = weight.const_data_ptr<Scalar>();
    auto* rms_data = inverse_rms.mutable_data_ptr<Scalar>();
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, out_dtype, "rms_norm_y", [&] {
      auto* y_data = y.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
          normalise_row(x_data + row * d, weight_data, d, static_cast<Scalar>(eps), y_data + row * d,
                        rms_data + row);
      });
    });
  });
  return {y, inverse_rms};
}

TensorPair backward_cpu(const at::Tensor& dy_in, const at::Tensor& x_in, const at::Tensor& weight,
                        const at::Tensor& inverse_rms) {
  if (implementation() == Implementation::reference)
    return backward_reference(dy_in, x_in, weight, inverse_rms);
  const at::Tensor x = x_in.contiguous();
  const at::Tensor dy = dy_in.contiguous();
  const int64_t d = weight.numel();
  const int64_t rows = x.numel() / d;
  const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  at::Tensor dx = at::empty_like(x);
  at::Tensor partial = at::zeros({blocks, d}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_backward_x", [&] {
    using Scalar = scalar_t;
    const auto* x_data = x.const_data_ptr<Scalar>();
    const auto* weight_data = weight.const_data_ptr<Scalar>();
    const auto* rms_data = inverse_rms.const_data_ptr<Scalar>();
    auto* dx_data = dx.mutable_data_ptr<Scalar>();
    auto* partial_data = partial.mutable_data_ptr<Scalar>();
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, dy.scalar_type(), "rms_norm_backward_dy", [&] {
      const auto* dy_data = dy.const_data_ptr<scalar_t>();
      at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t block = begin; block < end; ++block)
          for (int64_t row = block * kRowBlock; row < std::min(rows, (block + 1) * kRowBlock); ++row)
            backward_row(dy_data + row * d, x_data + row * d, weight_data, rms_data[row], d,
                         dx_data + row * d, partial_data + block * d);
      });
    });
  });
  return {dx, at::sum(partial, 0)};
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps, ScalarType out_dtype) -> (Tensor, Tensor)");
  m.def("rms_norm_backward(Tensor dy, Tensor x, Tensor weight, Tensor inverse_rms) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("rms_norm", forward_cpu);
  m.impl("rms_norm_backward", backward_cpu);
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
    auto [y, inverse_rms] = rms_norm_forward(x, weight, eps, out_dtype);
    context->save_for_backward({x, weight, inverse_rms});
    return y;
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    auto [dx, dweight] = rms_norm_backward(gradients[0], saved[0], saved[1], saved[2]);
    return {dx, dweight, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

TensorPair rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps,
                            at::ScalarType out_dtype) {
  TORCH_CHECK(weight.dim() == 1 && x.dim() >= 1 && x.size(-1) == weight.numel(), "rms_norm: x is ", x.sizes(),
              ", weight is ", weight.sizes());
  TORCH_CHECK(x.scalar_type() == weight.scalar_type(), "rms_norm: x and weight must have one type");
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("gca::rms_norm", "")
          .typed<TensorPair(const at::Tensor&, const at::Tensor&, double, at::ScalarType)>();
  return op.call(x, weight, eps, out_dtype);
}

TensorPair rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& inverse_rms) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("gca::rms_norm_backward", "")
          .typed<TensorPair(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>();
  return op.call(dy, x, weight, inverse_rms);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
  if (!at::GradMode::is_enabled()) return std::get<0>(rms_norm_forward(x, weight, eps, out_dtype));
  return RmsNormFunction::apply(x, weight, eps, out_dtype);
}

}  // namespace gca::kernels
