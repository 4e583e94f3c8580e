#include "lib/model/backbones/recurformer/mamba_mixer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "kernels/selective_scan/selective_scan.h"
#include "lib/model/layers/layer_caches.h"
#include "lib/model/layers/transformer_layer.h"

namespace gca::model {
namespace {

StartValue uniform(double bound) {
  return [bound](int64_t /*place*/, const PhiloxBlock& random) {
    return bound * (2 * open_unit_double(random.word[0], random.word[1]) - 1);
  };
}

/// b with softplus(b) log-uniform between the shortest and the longest step.
double start_of_step(int64_t /*place*/, const PhiloxBlock& random) {
  constexpr double kShortest = 1e-3;
  constexpr double kLongest = 0.1;
  const double share = open_unit_double(random.word[0], random.word[1]);
  const double step = std::exp(std::log(kShortest) + share * std::log(kLongest / kShortest));
  return step + std::log(-std::expm1(-step));
}

/// silu of the causal convolution of each channel. rows (B, w - 1 + n, channels): u' and what was before it.
at::Tensor convolution(const MambaWeights& weights, const at::Tensor& rows) {
  const at::Tensor& taps = weights.conv_w.master;
  const int64_t n = rows.size(1) - taps.size(1) + 1;
  const at::Tensor wide = rows.to(taps.scalar_type());
  at::Tensor sum = weights.conv_b.master;
  for (int64_t e = 0; e < taps.size(1); ++e) sum = sum + wide.narrow(1, e, n) * taps.select(1, e);
  return at::silu(sum).to(rows.scalar_type());
}

}  // namespace

MambaWeights MambaWeights::claim(WeightBuilder& builder, const std::string& prefix, const MambaSizes& sizes) {
  const int64_t c = sizes.channels, N = sizes.states, w = sizes.convolution, r = sizes.rank;
  const StartValue within_width = uniform(1 / std::sqrt(static_cast<double>(w)));
  MambaWeights weights;
  weights.w_in = builder.matrix(prefix + ".w_in", 2 * c, sizes.hidden);
  weights.conv_w = builder.parameter(prefix + ".conv_w", {c, w}, {.start = within_width});
  weights.conv_b = builder.parameter(prefix + ".conv_b", {c}, {.start = within_width});
  weights.w_x = builder.matrix(prefix + ".w_x", r + 2 * N, c);
  weights.w_dt =
      builder.matrix(prefix + ".w_dt", c, r, {.start = uniform(1 / std::sqrt(static_cast<double>(r)))});
  weights.b_dt = builder.parameter(prefix + ".b_dt", {c}, {.start = start_of_step, .decays = false});
  weights.a_log = builder.parameter(
      prefix + ".a_log", {c, N},
      {.start = [N](int64_t place,
                    const PhiloxBlock&) { return std::log(static_cast<double>(place % N + 1)); },
       .decays = false});
  weights.d = builder.parameter(prefix + ".d", {c},
                                {.start = [](int64_t, const PhiloxBlock&) { return 1.0; }, .decays = false});
  return weights;
}

int64_t MambaState::size_bytes() const {
  return gca::model::size_bytes(convolution) + gca::model::size_bytes(scan);
}

at::Tensor mamba_mix(const MambaWeights& weights, const at::Tensor& x, MambaState* state) {
  const int64_t channels = weights.conv_b.master.size(0);
  const int64_t before = weights.conv_w.master.size(1) - 1;
  const int64_t N = weights.a_log.master.size(1);
  const int64_t n = x.size(1);
  const at::Tensor both = project(x, weights.w_in);  // (B, n, 2 channels)
  const bool goes_on = state != nullptr && state->convolution.defined();
  const at::Tensor earlier =
      goes_on ? state->convolution : at::zeros({x.size(0), before, channels}, both.options());
  const at::Tensor rows = at::cat({earlier, both.narrow(2, 0, channels)}, 1);
  const at::Tensor u = convolution(weights, rows);
  const at::Tensor low = project(u, weights.w_x);  // (B, n, r + 2 N)
  const int64_t rank = low.size(2) - 2 * N;
  const kernels::SelectiveScanInputs scan = {
      .u = u,
      .delta = project(low.narrow(2, 0, rank).contiguous(), weights.w_dt),
      .z = both.narrow(2, channels, channels),
      .b = low.narrow(2, rank, N),
      .c = low.narrow(2, rank + N, N),
      .a_log = weights.a_log.master,
      .d = weights.d.master,
      .delta_bias = weights.b_dt.master};
  if (state == nullptr) return kernels::selective_scan(scan);
  state->convolution = rows.narrow(1, n, before).clone();
  return kernels::selective_scan_after(scan, state->scan);
}

}  // namespace gca::model
