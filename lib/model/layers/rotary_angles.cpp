#include "lib/model/layers/rotary_angles.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/rotary/rotary.h"

namespace gca::model {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

/// The pair that turns `times` times within the original positions.
double pair_that_turns(const ModelConfig& config, double times) {
  return static_cast<double>(config.head_dim()) *
         std::log(static_cast<double>(config.original_positions()) / (times * kTwoPi)) /
         (2 * std::log(config.rope_theta));
}

/// Between which pairs yarn's ramp lies.
std::pair<double, double> yarn_ramp(const ModelConfig& config) {
  double low = pair_that_turns(config, config.rope_beta_fast);
  double high = pair_that_turns(config, config.rope_beta_slow);
  if (config.rope_truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim() - 1));
  if (low == high) high += 0.001;
  return {low, high};
}

double scaled_frequency(const ModelConfig& config, int64_t pair, double frequency) {
  const double slow = frequency / config.rope_factor;
  if (config.rope_type == "linear") return slow;
  if (config.rope_type == "llama3") {
    const double turns = static_cast<double>(config.original_positions()) * frequency / kTwoPi;
    const double share = std::clamp(
        (turns - config.rope_low_freq_factor) / (config.rope_high_freq_factor - config.rope_low_freq_factor),
        0.0, 1.0);
    return (1 - share) * slow + share * frequency;
  }
  if (config.rope_type == "yarn") {
    const auto [low, high] = yarn_ramp(config);
    const double share = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
    return share * slow + (1 - share) * frequency;
  }
  return frequency;
}

double yarn_factor(const ModelConfig& config) {
  if (config.rope_attention_factor > 0) return config.rope_attention_factor;
  return config.rope_factor > 1 ? 0.1 * std::log(config.rope_factor) + 1.0 : 1.0;
}

}  // namespace

RotaryAngles::RotaryAngles(const ModelConfig& config, at::ScalarType dtype) : dtype_(dtype) {
  if (config.position != "rope") return;
  const int64_t dh = config.head_dim();
  for (int64_t pair = 0; pair < dh / 2; ++pair) {
    const double exponent = static_cast<double>(2 * pair) / static_cast<double>(dh);
    frequencies_.push_back(scaled_frequency(config, pair, std::pow(config.rope_theta, -exponent)));
  }
  if (config.rope_type == "yarn") factor_ = yarn_factor(config);
}

RotaryAngles::Table RotaryAngles::table(int64_t rows) const {
  const std::lock_guard lock(mutex_);
  const int64_t held = table_.cosine.defined() ? table_.cosine.size(0) : 0;
  if (rows > held) {
    constexpr int64_t kFewest = 1024;
    const at::NoGradGuard no_grad;
    const at::Tensor place = at::arange(std::max({rows, 2 * held, kFewest}), at::kDouble).unsqueeze(1);
    const at::Tensor angle = place * at::tensor(frequencies_, at::kDouble);  // (rows, dh/2)
    table_ = {(at::cos(angle) * factor_).to(dtype_), (at::sin(angle) * factor_).to(dtype_)};
  }
  return table_;
}

RotaryAngles::Table RotaryAngles::table(int64_t first, int64_t n) const {
  const Table all = table(first + n);
  return {all.cosine.narrow(0, first, n), all.sine.narrow(0, first, n)};
}

at::Tensor RotaryAngles::turn(const at::Tensor& x, int64_t first) const {
  if (frequencies_.empty()) return x;
  const Table rows = table(first, x.size(1));
  return kernels::rotary_by_table(x, rows.cosine, rows.sine);
}

std::pair<at::Tensor, at::Tensor> RotaryAngles::turn(const at::Tensor& q, const at::Tensor& k,
                                                     int64_t first) const {
  if (frequencies_.empty()) return {q, k};
  const Table rows = table(first, q.size(1));
  return {kernels::rotary_by_table(q, rows.cosine, rows.sine),
          kernels::rotary_by_table(k, rows.cosine, rows.sine)};
}

at::Tensor RotaryAngles::turn_at(const at::Tensor& x, const std::vector<int64_t>& places) const {
  if (frequencies_.empty() || places.empty()) return x;
  const Table all = table(*std::max_element(places.begin(), places.end()) + 1);
  const at::Tensor rows = at::tensor(places, at::kLong);
  return kernels::rotary_by_table(x, all.cosine.index_select(0, rows), all.sine.index_select(0, rows));
}

}  // namespace gca::model
