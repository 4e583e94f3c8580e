#include "lib/model/backbones/longvq/codebook.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <numbers>

namespace gca::model {
namespace {

constexpr double kSmallestCount = 0.01;

double standard_normal(int64_t /*place*/, const PhiloxBlock& random) {
  const double radius = std::sqrt(-2.0 * std::log(open_unit_double(random.word[0], random.word[1])));
  return radius * std::cos(2.0 * std::numbers::pi * open_unit_double(random.word[2], random.word[3]));
}

class CommitmentFunction : public torch::autograd::Function<CommitmentFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& keys,
                            const at::Tensor& nearest, double factor) {
    context->save_for_backward({keys, nearest});
    context->saved_data["factor"] = factor;
    return keys.view_as(keys);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &keys = saved[0], &nearest = saved[1];
    const double slope = 2 * context->saved_data["factor"].toDouble() / static_cast<double>(keys.numel());
    const at::Tensor distance = keys.to(nearest.scalar_type()).sub(nearest);
    const at::Tensor none;
    return {distance.mul_(slope).add_(gradients[0]).to(keys.scalar_type()), none, none};
  }
};

double one(int64_t /*place*/, const PhiloxBlock& /*random*/) {
  return 1.0;
}

}  // namespace

void KeyCounts::add(const at::Tensor& keys, const at::Tensor& codes, int64_t code_count, const Draw& draw) {
  const at::NoGradGuard no_grad;
  const int64_t B = keys.size(0), L = keys.size(1), H = keys.size(2), dh = keys.size(3);
  const int64_t N = code_count;
  if (!count.defined()) {
    count = at::zeros({H, N}, at::kDouble);
    sum = at::zeros({H, N, dh}, at::kDouble);
    fresh_keys = at::zeros({H, N, dh}, at::kDouble);
    priority_ = at::full({H, N}, -1.0, at::kDouble);
  }
  const at::Tensor wide = keys.detach().to(at::kFloat).contiguous();
  const at::Tensor numbers = codes.contiguous();
  const auto* key = wide.const_data_ptr<float>();
  const auto* z = numbers.const_data_ptr<int64_t>();
  auto* n = count.mutable_data_ptr<double>();
  auto* s = sum.mutable_data_ptr<double>();
  auto* best = priority_.mutable_data_ptr<double>();
  auto* fresh = fresh_keys.mutable_data_ptr<double>();
  at::parallel_for(0, H, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      for (int64_t i = h; i < B * L * H; i += H) {
        const int64_t code = h * N + z[i];
        n[code] += 1;
        for (int64_t e = 0; e < dh; ++e) s[code * dh + e] += double{key[i * dh + e]};
      }
      for (int64_t b = 0; b < B; ++b)
        for (int64_t code = h * N; code < (h + 1) * N; ++code) {
          constexpr uint64_t kMostRows = uint64_t{1} << 24;
          const uint64_t text = draw.layer * kMostRows + static_cast<uint64_t>(draw.first_row + b);
          const PhiloxBlock block =
              philox_block(draw.seed, RandomStream::codebook_revival, draw.step,
                           text * static_cast<uint64_t>(H * N) + static_cast<uint64_t>(code));
          const double priority = open_unit_double(block.word[0], block.word[1]);
          if (priority <= best[code]) continue;
          best[code] = priority;
          const int64_t place = static_cast<int64_t>(block.word[2]) % L;
          const float* from = key + ((b * L + place) * H + h) * dh;
          for (int64_t e = 0; e < dh; ++e) fresh[code * dh + e] = double{from[e]};
        }
    }
  });
}

Codebook Codebook::claim(WeightBuilder& builder, const std::string& prefix, int64_t heads, int64_t code_count,
                         int64_t head_dim) {
  Codebook codebook;
  codebook.count =
      builder.parameter(prefix + ".count", {heads, code_count}, {.start = one, .trained = false});
  codebook.sum = builder.parameter(prefix + ".sum", {heads, code_count, head_dim},
                                   {.start = standard_normal, .trained = false});
  return codebook;
}

at::Tensor Codebook::codes() const {
  return sum.master / count.master.clamp_min(kSmallestCount).unsqueeze(-1);
}

void Codebook::update(const KeyCounts& step, double decay, double revival) const {
  if (!step.count.defined()) return;
  const at::NoGradGuard no_grad;
  const auto followed = [decay](const at::Tensor& old, const at::Tensor& seen) {
    return decay * old.to(at::kDouble) + (1 - decay) * seen;
  };
  const at::Tensor new_count = followed(count.master, step.count);
  const at::Tensor new_sum = followed(sum.master, step.sum);
  const at::Tensor mean = new_count.mean(-1, /*keepdim=*/true).expand_as(new_count);
  const at::Tensor dead = new_count < revival * mean;
  count.master.copy_(at::where(dead, mean, new_count));
  sum.master.copy_(at::where(dead.unsqueeze(-1), step.fresh_keys * mean.unsqueeze(-1), new_sum));
}

at::Tensor committed(const at::Tensor& keys, const at::Tensor& nearest, double factor) {
  return CommitmentFunction::apply(keys, nearest, factor);
}

at::Tensor codewords(const at::Tensor& codes, const at::Tensor& z) {
  const int64_t H = codes.size(0), N = codes.size(1), dh = codes.size(2);
  const at::Tensor rows = z + at::arange(H, at::kLong) * N;
  std::vector<int64_t> shape = z.sizes().vec();
  shape.push_back(dh);
  return codes.reshape({H * N, dh}).index_select(0, rows.flatten()).view(shape);
}

}  // namespace gca::model
