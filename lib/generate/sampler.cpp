#include "lib/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "kernels/common/tile_kernels.h"
#include "lib/core/error.h"

namespace gca::generate {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// The most probable allowed id, the lower one of equals.
int64_t best_id(std::span<const float> logits, std::span<const uint8_t> allowed) {
  int64_t best = -1;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (!allowed.empty() && !allowed[id]) continue;
    if (std::isnan(logits[id])) fail_run("sampling", "a logit is NaN", "the checkpoint may have diverged");
    if (best < 0 || logits[id] > logits[static_cast<size_t>(best)]) best = static_cast<int64_t>(id);
  }
  if (best < 0) fail_run("sampling", "no token is allowed");
  return best;
}

double sum_of(const std::vector<float>& weights) {
  double sum = 0;
  for (const float weight : weights) sum += static_cast<double>(weight);
  return sum;
}

}  // namespace

void TokenSampler::keep_top_k(int64_t k) {
  if (k <= 0 || k >= static_cast<int64_t>(kept_.size())) return;
  ordered_.assign(kept_.begin(), kept_.end());
  const auto kth = ordered_.begin() + (k - 1);
  std::nth_element(ordered_.begin(), kth, ordered_.end(), std::greater<>());
  // All above the k-th stay, and of its equals the first, so that k are kept.
  const float least = *kth;
  int64_t equals = k - std::count_if(ordered_.begin(), kth, [&](float logit) { return logit > least; });
  for (float& logit : kept_) {
    if (logit < least || (logit == least && equals-- <= 0)) logit = kNever;
  }
}

void TokenSampler::keep_top_p(double p) {
  if (p >= 1.0) return;
  ranked_.clear();
  for (size_t id = 0; id < kept_.size(); ++id)
    if (kept_[id] > 0) ranked_.push_back(static_cast<int64_t>(id));
  const auto weight = [&](int64_t id) -> float& { return kept_[static_cast<size_t>(id)]; };
  std::sort(ranked_.begin(), ranked_.end(),
            [&](int64_t a, int64_t b) { return weight(a) > weight(b) || (weight(a) == weight(b) && a < b); });
  const double enough = p * sum_of(kept_);
  double sum = 0;
  bool is_first = true;
  for (const int64_t id : ranked_) {
    if (!is_first && sum >= enough) {
      weight(id) = 0;
      continue;
    }
    sum += static_cast<double>(weight(id));
    is_first = false;
  }
}

int64_t TokenSampler::draw(std::span<const float> logits, std::span<const uint8_t> allowed,
                           const SamplingOptions& options, double uniform) {
  const int64_t best = best_id(logits, allowed);
  if (options.temperature <= 0.0) return best;

  kept_.assign(logits.begin(), logits.end());
  if (!allowed.empty()) {
    for (size_t id = 0; id < kept_.size(); ++id)
      if (!allowed[id]) kept_[id] = kNever;
  }
  keep_top_k(options.top_k);

  // Logits become weights, exp((logit - largest) / temperature).
  const float top = logits[static_cast<size_t>(best)];
  for (float& logit : kept_) logit -= top;
  float largest = 0;
  float denominator = 0;
  kernels::tile_kernels().softmax_row(static_cast<int64_t>(kept_.size()), kept_.data(),
                                      static_cast<float>(1.0 / options.temperature), 0.0F, 0.0F, &largest,
                                      &denominator);
  keep_top_p(options.top_p);

  // The walk is by id: which number draws which token depends on nothing but the set kept.
  const double target = uniform * sum_of(kept_);
  double sum = 0;
  for (size_t id = 0; id < kept_.size(); ++id) {
    sum += static_cast<double>(kept_[id]);
    if (target < sum) return static_cast<int64_t>(id);
  }
  return best;  // rounding left the sum a hair below the target
}

int64_t sample_token(std::span<const float> logits, std::span<const uint8_t> allowed,
                     const SamplingOptions& options, double uniform) {
  return TokenSampler().draw(logits, allowed, options, uniform);
}

}  // namespace gca::generate
