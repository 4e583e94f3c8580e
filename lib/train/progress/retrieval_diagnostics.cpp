#include "lib/train/progress/retrieval_diagnostics.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

namespace gca::train {
namespace {

double mean_of(double sum, int64_t count) {
  return count > 0 ? sum / static_cast<double>(count) : 0.0;
}

at::Tensor plain(const at::Tensor& x, at::ScalarType type) {
  return x.detach().to(at::kCPU, type).contiguous();
}

}  // namespace

GroupDiagnostics diagnose_retrieval(const at::Tensor& r, const at::Tensor& idx, const at::Tensor& w,
                                    int64_t chunk_text_size) {
  const at::NoGradGuard no_grad;
  const int64_t batch = idx.size(0);
  const int64_t chunks = idx.size(1);
  const int64_t slots = idx.size(2);
  const at::Tensor scores = plain(r, at::kFloat);
  const at::Tensor choices = plain(idx, at::kInt);
  const at::Tensor weights = plain(w, at::kFloat);
  const float* score = scores.const_data_ptr<float>();
  const int32_t* choice = choices.const_data_ptr<int32_t>();
  const float* weight = weights.const_data_ptr<float>();

  double spread_sum = 0.0;
  double entropy_sum = 0.0;
  double distance_sum = 0.0;
  int64_t landmarks = 0;
  int64_t chosen = 0;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < chunks; ++t) {
      const int64_t row = b * chunks + t;
      double entropy = 0.0;
      for (int64_t slot = 0; slot < slots; ++slot) {
        const int32_t c = choice[row * slots + slot];
        if (c < 0) continue;
        distance_sum += static_cast<double>((t + 1 - c) * chunk_text_size);
        ++chosen;
        const double p = weight[row * slots + slot];
        if (p > 0) entropy -= p * std::log(p);
      }
      if (t < 2) continue;  // no choice between fewer than two candidates
      double sum = 0.0;
      double sum_of_squares = 0.0;
      for (int64_t c = 0; c < t; ++c) sum += score[row * chunks + c];
      const double mean = sum / static_cast<double>(t);
      for (int64_t c = 0; c < t; ++c) {
        const double difference = score[row * chunks + c] - mean;
        sum_of_squares += difference * difference;
      }
      spread_sum += std::sqrt(sum_of_squares / static_cast<double>(t));
      entropy_sum += entropy;
      ++landmarks;
    }
  }
  return {mean_of(spread_sum, landmarks), mean_of(entropy_sum, landmarks), mean_of(distance_sum, chosen)};
}

std::vector<GroupDiagnostics> diagnose_choices(const std::vector<model::Choices>& choices,
                                               int64_t chunk_text_size) {
  std::vector<GroupDiagnostics> groups;
  for (const model::Choices& group : choices)
    if (group.all_scores.defined())
      groups.push_back(diagnose_retrieval(group.all_scores, group.idx, group.weights, chunk_text_size));
  return groups;
}

}  // namespace gca::train
