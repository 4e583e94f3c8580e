#include "lib/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/core/error.h"

namespace gca {
namespace {

struct Candidate {
  int64_t id;
  double logit;
  double weight;  ///< exp((logit - largest) / temperature), not normalised
};

bool more_probable(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

double total_weight(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const auto& candidate : candidates) sum += candidate.weight;
  return sum;
}

std::vector<Candidate> allowed_candidates(std::span<const float> logits, std::span<const uint8_t> allowed) {
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t id = 0; id < logits.size(); ++id) {
    if (!allowed.empty() && !allowed[id]) continue;
    if (std::isnan(logits[id])) fail_run("sampling", "a logit is NaN", "the checkpoint may have diverged");
    candidates.push_back({static_cast<int64_t>(id), logits[id], 0.0});
  }
  if (candidates.empty()) fail_run("sampling", "no token is allowed");
  return candidates;
}

void keep_top_k(std::vector<Candidate>& candidates, int64_t k) {
  if (k <= 0 || k >= static_cast<int64_t>(candidates.size())) return;
  std::nth_element(candidates.begin(), candidates.begin() + k, candidates.end(), more_probable);
  candidates.resize(static_cast<size_t>(k));
}

void keep_top_p(std::vector<Candidate>& candidates, double p) {
  if (p >= 1.0) return;
  std::sort(candidates.begin(), candidates.end(), more_probable);
  const double enough = p * total_weight(candidates);
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || sum < enough)) sum += candidates[kept++].weight;
  candidates.resize(kept);
}

}  // namespace

int64_t sample_token(std::span<const float> logits, std::span<const uint8_t> allowed,
                     const SamplingOptions& options, double uniform) {
  std::vector<Candidate> candidates = allowed_candidates(logits, allowed);
  const Candidate best = *std::min_element(candidates.begin(), candidates.end(), more_probable);
  if (options.temperature <= 0.0) return best.id;

  keep_top_k(candidates, options.top_k);
  for (auto& candidate : candidates)
    candidate.weight = std::exp((candidate.logit - best.logit) / options.temperature);
  keep_top_p(candidates, options.top_p);

  // The order of the walk decides which number draws which token; by id it depends on nothing but the set
  // kept.
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  const double target = uniform * total_weight(candidates);
  double sum = 0;
  for (const auto& candidate : candidates) {
    sum += candidate.weight;
    if (target < sum) return candidate.id;
  }
  return best.id;  // rounding left the sum a hair below the target
}

}  // namespace gca
