// (a, b) -> (a cos - b sin, b cos + a sin). Bound by memory. The gradient is the turn by the opposite angle.
//   fast       one pass over x with a table of S * dh/2 sines and cosines
//   reference  composed ATen calls

#include "kernels/rotary/rotary.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cmath>
#include <vector>

#include "kernels/common/implementation.h"

namespace gca::kernels {
namespace {

at::Tensor turn_reference(const at::Tensor& x, double theta, double direction) {
  const int64_t S = x.size(1);
  const int64_t half = x.size(3) / 2;
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor frequency = at::pow(theta, -at::arange(half, at::kDouble) / static_cast<double>(half));
  const at::Tensor angle = direction * at::arange(S, at::kDouble).unsqueeze(1) * frequency;  // (S, dh/2)
  const at::Tensor cosine = at::cos(angle).to(type).unsqueeze(1);
  const at::Tensor sine = at::sin(angle).to(type).unsqueeze(1);
  const at::Tensor a = x.narrow(3, 0, half).to(type);
  const at::Tensor b = x.narrow(3, half, half).to(type);
  return at::cat({a * cosine - b * sine, b * cosine + a * sine}, 3).to(x.scalar_type());
}

/// What angles of elements of this type are kept in.
template <class Scalar>
using WideOf = std::conditional_t<std::is_same_v<Scalar, double>, double, float>;

/// cosine and sine (S, dh/2).
template <class Scalar>
void turn_by_table(const Scalar* x, Scalar* y, int64_t N, int64_t S, int64_t H, int64_t dh,
                   const WideOf<Scalar>* cosine, const WideOf<Scalar>* sine) {
  const int64_t half = dh / 2;
  at::parallel_for(0, N * S, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto* c = cosine + row % S * half;
      const auto* s = sine + row % S * half;
      for (int64_t head = 0; head < H; ++head) {
        const Scalar* in = x + (row * H + head) * dh;
        Scalar* out = y + (row * H + head) * dh;
#pragma omp simd
        for (int64_t e = 0; e < half; ++e) {
          const auto a = static_cast<WideOf<Scalar>>(in[e]);
          const auto b = static_cast<WideOf<Scalar>>(in[e + half]);
          out[e] = static_cast<Scalar>(a * c[e] - b * s[e]);
          out[e + half] = static_cast<Scalar>(b * c[e] + a * s[e]);
        }
      }
    }
  });
}

template <class Scalar>
void turn(const Scalar* x, Scalar* y, int64_t N, int64_t S, int64_t H, int64_t dh, double theta,
          double direction) {
  using Wide = WideOf<Scalar>;
  const int64_t half = dh / 2;
  std::vector<Wide> cosine(static_cast<size_t>(S * half));
  std::vector<Wide> sine(cosine.size());
  for (int64_t e = 0; e < half; ++e) {
    const double frequency = std::pow(theta, -static_cast<double>(e) / static_cast<double>(half));
    for (int64_t s = 0; s < S; ++s) {
      const double angle = direction * static_cast<double>(s) * frequency;
      cosine[static_cast<size_t>(s * half + e)] = static_cast<Wide>(std::cos(angle));
      sine[static_cast<size_t>(s * half + e)] = static_cast<Wide>(std::sin(angle));
    }
  }
  turn_by_table(x, y, N, S, H, dh, cosine.data(), sine.data());
}

at::Tensor turn_cpu(const at::Tensor& x_in, double theta, double direction) {
  if (implementation() == Implementation::reference) return turn_reference(x_in, theta, direction);
  const at::Tensor x = x_in.contiguous();
  at::Tensor y = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rotary", [&] {
    turn(x.const_data_ptr<scalar_t>(), y.mutable_data_ptr<scalar_t>(), x.size(0), x.size(1), x.size(2),
         x.size(3), theta, direction);
  });
  return y;
}

at::Tensor turn_by_table_reference(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const int64_t half = x.size(3) / 2;
  const at::Tensor c = cosine.unsqueeze(1), s = sine.unsqueeze(1);  // (n, 1, dh/2)
  const at::Tensor a = x.narrow(3, 0, half).to(cosine.scalar_type());
  const at::Tensor b = x.narrow(3, half, half).to(cosine.scalar_type());
  return at::cat({a * c - b * s, b * c + a * s}, 3).to(x.scalar_type());
}

at::Tensor turn_by_table_cpu(const at::Tensor& x_in, const at::Tensor& cosine_in, const at::Tensor& sine_in) {
  if (implementation() == Implementation::reference) return turn_by_table_reference(x_in, cosine_in, sine_in);
  const at::Tensor x = x_in.contiguous(), cosine = cosine_in.contiguous(), sine = sine_in.contiguous();
  at::Tensor y = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rotary_by_table", [&] {
    turn_by_table(x.const_data_ptr<scalar_t>(), y.mutable_data_ptr<scalar_t>(), x.size(0), x.size(1),
                  x.size(2), x.size(3), cosine.const_data_ptr<WideOf<scalar_t>>(),
                  sine.const_data_ptr<WideOf<scalar_t>>());
  });
  return y;
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def("rotary_by_table(Tensor x, Tensor cosine, Tensor sine) -> Tensor");
  m.def("rotary(Tensor x, float theta, float direction) -> Tensor");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("rotary", turn_cpu);
  m.impl("rotary_by_table", turn_by_table_cpu);
}

at::Tensor call_turn(const at::Tensor& x, double theta, double direction) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::rotary", "")
                             .typed<at::Tensor(const at::Tensor&, double, double)>();
  return op.call(x, theta, direction);
}

class RotaryFunction : public torch::autograd::Function<RotaryFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, double theta) {
    context->saved_data["theta"] = theta;
    return call_turn(x, theta, 1.0);
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    return {call_turn(gradients[0], context->saved_data["theta"].toDouble(), -1.0), at::Tensor()};
  }
};

at::Tensor call_turn_by_table(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::rotary_by_table", "")
                             .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&)>();
  return op.call(x, cosine, sine);
}

class RotaryByTableFunction : public torch::autograd::Function<RotaryByTableFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& cosine, const at::Tensor& sine) {
    context->save_for_backward({cosine, sine});
    return call_turn_by_table(x, cosine, sine);
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    return {call_turn_by_table(gradients[0], saved[0], saved[1].neg()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rotary_by_table(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  TORCH_CHECK(x.dim() == 4 && x.size(3) % 2 == 0 && cosine.sizes() == sine.sizes() && cosine.dim() == 2 &&
                  cosine.size(0) == x.size(1) && cosine.size(1) == x.size(3) / 2,
              "rotary_by_table: x is ", x.sizes(), ", expected (N, n, H, even dh); the table is ",
              cosine.sizes());
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  TORCH_CHECK(cosine.scalar_type() == type && sine.scalar_type() == type,
              "rotary_by_table: the table is not ", type);
  return RotaryByTableFunction::apply(x, cosine, sine);
}

at::Tensor rotary(const at::Tensor& x, double theta) {
  TORCH_CHECK(x.dim() == 4 && x.size(3) % 2 == 0, "rotary: x is ", x.sizes(),
              ", expected (N, S, H, even dh)");
  return RotaryFunction::apply(x, theta);
}

}  // namespace gca::kernels
