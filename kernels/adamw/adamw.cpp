#include "kernels/adamw/adamw.h"

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/common/named_work.h"
#include "kernels/common/row_kernels.h"

namespace gca::kernels {
namespace {

// Tensors are cut into blocks of this size whatever the number of threads, so the order of sums is fixed and
// small tensors share the work with large ones.
constexpr int64_t kBlock = int64_t{1} << 15;

struct Block {
  size_t tensor;
  int64_t begin, count;
};

template <typename Tensors, typename SizeOf>
std::vector<Block> blocks_of(const Tensors& tensors, SizeOf size_of) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t size = size_of(tensors[i]);
    for (int64_t begin = 0; begin < size; begin += kBlock)
      blocks.push_back({i, begin, std::min(kBlock, size - begin)});
  }
  return blocks;
}

/// lr * decay
double decay_of(const AdamWUpdate& update, const AdamWSettings& s) {
  return update.decays ? update.learning_rate * s.weight_decay : 0.0;
}

/// The formula in double, for float64 weights (tests).
void update_doubles(const AdamWUpdate& update, const Block& block, const AdamWSettings& s) {
  const auto t = static_cast<double>(s.step);
  const double step_size = update.learning_rate / (1.0 - std::pow(s.beta1, t));
  const double correction2 = 1.0 - std::pow(s.beta2, t);
  auto* weight = update.weight.mutable_data_ptr<double>();
  auto* m = update.first_moment.mutable_data_ptr<double>();
  auto* v = update.second_moment.mutable_data_ptr<double>();
  const auto* gradient = update.gradient.const_data_ptr<double>();
  for (int64_t i = block.begin; i < block.begin + block.count; ++i) {
    const double g = s.gradient_scale * gradient[i];
    m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
    v[i] = s.beta2 * v[i] + (1 - s.beta2) * g * g;
    weight[i] -=
        step_size * m[i] / (std::sqrt(v[i] / correction2) + s.epsilon) + decay_of(update, s) * weight[i];
  }
}

/// What the formula needs of a step: scale, beta1, beta2, step size, second correction, epsilon, decay.
std::array<double, 7> coefficients_of(const AdamWUpdate& update, const AdamWSettings& s) {
  const auto t = static_cast<double>(s.step);
  return {s.gradient_scale,
          s.beta1,
          s.beta2,
          update.learning_rate / (1.0 - std::pow(s.beta1, t)),
          1.0 / (1.0 - std::pow(s.beta2, t)),
          s.epsilon,
          decay_of(update, s)};
}

bool has_bf16_copy(const AdamWUpdate& update) {
  return update.copy.defined() && update.copy.scalar_type() == at::kBFloat16;
}

void update_floats(const AdamWUpdate& update, const Block& block, const AdamWSettings& s) {
  const std::array<double, 7> c = coefficients_of(update, s);
  const AdamWCoefficients coefficients{
      static_cast<float>(c[0]), static_cast<float>(c[1]), static_cast<float>(c[2]), static_cast<float>(c[3]),
      static_cast<float>(c[4]), static_cast<float>(c[5]), static_cast<float>(c[6])};
  const bool writes_copy = has_bf16_copy(update);
  auto* copy = writes_copy ? static_cast<uint16_t*>(update.copy.mutable_data_ptr()) : nullptr;
  row_kernels().update.adamw(block.count, coefficients, update.gradient.const_data_ptr<float>() + block.begin,
                             update.weight.mutable_data_ptr<float>() + block.begin,
                             update.first_moment.mutable_data_ptr<float>() + block.begin,
                             update.second_moment.mutable_data_ptr<float>() + block.begin,
                             copy == nullptr ? nullptr : copy + block.begin);
}

void check(const AdamWUpdate& update) {
  const at::Tensor& weight = update.weight;
  for (const at::Tensor* t : {&weight, &update.gradient, &update.first_moment, &update.second_moment}) {
    TORCH_CHECK(
        t->is_contiguous() && t->scalar_type() == weight.scalar_type() && t->sizes() == weight.sizes(),
        "adamw_step: weight, gradient and moments must be contiguous and of one type and shape");
  }
  TORCH_CHECK(weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kDouble,
              "adamw_step: weights are float32 or float64, got ", weight.scalar_type());
  TORCH_CHECK(!update.copy.defined() || update.copy.is_same(weight) ||
                  (update.copy.is_contiguous() && update.copy.sizes() == weight.sizes() &&
                   update.copy.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kFloat),
              "adamw_step: a copy must be bf16, contiguous and of the shape of its float32 weight");
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  // Devices. Coefficients as of coefficients_of(); the sum is a double on the device.
  m.def(
      "adamw_update_(Tensor(a!) weight, Tensor gradient, Tensor(b!) first_moment, Tensor(c!) second_moment, "
      "Tensor(d!)? copy, float[] coefficients) -> ()");
  m.def("sum_of_squares(Tensor[] gradients) -> Tensor");
}

void update_on_device(const AdamWUpdate& update, const AdamWSettings& s) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::adamw_update_", "")
                             .typed<void(at::Tensor&, const at::Tensor&, at::Tensor&, at::Tensor&,
                                         const std::optional<at::Tensor>&, at::ArrayRef<double>)>();
  at::Tensor weight = update.weight;
  at::Tensor first_moment = update.first_moment;
  at::Tensor second_moment = update.second_moment;
  const std::optional<at::Tensor> copy = has_bf16_copy(update) ? std::optional(update.copy) : std::nullopt;
  op.call(weight, update.gradient, first_moment, second_moment, copy, coefficients_of(update, s));
}

double norm_on_device(const std::vector<at::Tensor>& gradients) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::sum_of_squares", "")
                             .typed<at::Tensor(at::TensorList)>();
  return std::sqrt(op.call(gradients).item<double>());
}

}  // namespace

void adamw_step(std::span<const AdamWUpdate> updates, const AdamWSettings& settings) {
  const NamedWork work("gca::adamw_step");
  for (const AdamWUpdate& update : updates) check(update);
  if (!updates.empty() && !updates[0].weight.device().is_cpu()) {
    for (const AdamWUpdate& update : updates) update_on_device(update, settings);
    return;
  }
  const auto blocks = blocks_of(updates, [](const AdamWUpdate& update) { return update.weight.numel(); });
  at::parallel_for(0, static_cast<int64_t>(blocks.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Block& block = blocks[static_cast<size_t>(i)];
      const AdamWUpdate& update = updates[block.tensor];
      if (update.weight.scalar_type() == at::kDouble)
        update_doubles(update, block, settings);
      else
        update_floats(update, block, settings);
    }
  });
}

double gradient_norm(const std::vector<at::Tensor>& gradients) {
  const NamedWork work("gca::gradient_norm");
  std::vector<at::Tensor> dense;
  for (const at::Tensor& gradient : gradients)
    if (gradient.defined()) dense.push_back(gradient.contiguous());
  if (!dense.empty() && !dense[0].device().is_cpu()) return norm_on_device(dense);
  const auto blocks = blocks_of(dense, [](const at::Tensor& gradient) { return gradient.numel(); });
  std::vector<double> partial(blocks.size(), 0.0);
  at::parallel_for(0, static_cast<int64_t>(blocks.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Block& block = blocks[static_cast<size_t>(i)];
      const at::Tensor& x = dense[block.tensor];
      double& sum = partial[static_cast<size_t>(i)];
      if (x.scalar_type() == at::kFloat) {
        sum = row_kernels().update.sum_of_squares(block.count, x.const_data_ptr<float>() + block.begin);
      } else {
        const auto* data = x.const_data_ptr<double>() + block.begin;
        for (int64_t j = 0; j < block.count; ++j) sum += data[j] * data[j];
      }
    }
  });
  double total = 0.0;
  for (const double sum : partial) total += sum;
  return std::sqrt(total);
}

}  // namespace gca::kernels
