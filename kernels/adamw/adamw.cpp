#include "kernels/adamw/adamw.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "kernels/common/named_work.h"

namespace gca::kernels {
namespace {

// Sums are cut into blocks of this size whatever the number of threads, so their order is fixed.
constexpr int64_t kBlock = int64_t{1} << 15;

template <class Scalar>
void update(Scalar* weight, const Scalar* gradient, Scalar* m, Scalar* v, int64_t size,
            const AdamWSettings& s) {
  const auto beta1 = static_cast<Scalar>(s.beta1);
  const auto beta2 = static_cast<Scalar>(s.beta2);
  const auto scale = static_cast<Scalar>(s.gradient_scale);
  const auto t = static_cast<double>(s.step);
  const auto step_size = static_cast<Scalar>(s.learning_rate / (1.0 - std::pow(s.beta1, t)));
  const auto inverse_correction2 = static_cast<Scalar>(1.0 / (1.0 - std::pow(s.beta2, t)));
  const auto epsilon = static_cast<Scalar>(s.epsilon);
  const auto decay = static_cast<Scalar>(s.learning_rate * s.weight_decay);
  at::parallel_for(0, size, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Scalar g = scale * gradient[i];
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      weight[i] -= step_size * m[i] / (std::sqrt(v[i] * inverse_correction2) + epsilon) + decay * weight[i];
    }
  });
}

template <class Scalar>
double sum_of_squares(const Scalar* x, int64_t size) {
  const int64_t blocks = (size + kBlock - 1) / kBlock;
  std::vector<double> partial(static_cast<size_t>(blocks), 0.0);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      double sum = 0.0;
      const int64_t end = std::min(size, (block + 1) * kBlock);
      for (int64_t i = block * kBlock; i < end; ++i)
        sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      partial[static_cast<size_t>(block)] = sum;
    }
  });
  double total = 0.0;
  for (const double sum : partial) total += sum;
  return total;
}

}  // namespace

void adamw_step(const at::Tensor& weight, const at::Tensor& gradient, const at::Tensor& first_moment,
                const at::Tensor& second_moment, const AdamWSettings& settings) {
  const NamedWork work("gca::adamw_step");
  for (const at::Tensor* t : {&gradient, &first_moment, &second_moment}) {
    TORCH_CHECK(
        t->is_contiguous() && t->scalar_type() == weight.scalar_type() && t->sizes() == weight.sizes(),
        "adamw_step: gradient and moments must be contiguous and of the weight's type and shape");
  }
  TORCH_CHECK(weight.is_contiguous(), "adamw_step: the weight must be contiguous");
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "adamw_step", [&] {
    update(weight.mutable_data_ptr<scalar_t>(), gradient.const_data_ptr<scalar_t>(),
           first_moment.mutable_data_ptr<scalar_t>(), second_moment.mutable_data_ptr<scalar_t>(),
           weight.numel(), settings);
  });
}

double gradient_norm(const std::vector<at::Tensor>& gradients) {
  const NamedWork work("gca::gradient_norm");
  double total = 0.0;
  for (const at::Tensor& gradient : gradients) {
    if (!gradient.defined()) continue;
    const at::Tensor x = gradient.contiguous();
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "gradient_norm",
                               [&] { total += sum_of_squares(x.const_data_ptr<scalar_t>(), x.numel()); });
  }
  return std::sqrt(total);
}

}  // namespace gca::kernels
