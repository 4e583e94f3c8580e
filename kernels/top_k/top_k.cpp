// One pass over a row with a heap of the best k so far, whose root is the worst of them: nearly all scores
// are compared with the root alone, so the pass is bound by reading the scores.

#include "kernels/top_k/top_k.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace gca::kernels {
namespace {

template <class Scalar>
void best_of_row(const Scalar* scores, int64_t n, std::vector<std::pair<Scalar, int64_t>>& heap,
                 int64_t* best) {
  // Greater scores come first, of equal ones the earlier: with this order, std's heaps have the worst at
  // their front.
  const auto is_better = [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  };
  const auto k = static_cast<int64_t>(heap.size());
  for (int64_t j = 0; j < k; ++j) heap[static_cast<size_t>(j)] = {scores[j], j};
  std::make_heap(heap.begin(), heap.end(), is_better);
  for (int64_t j = k; j < n; ++j) {
    if (scores[j] <= heap.front().first) continue;
    std::pop_heap(heap.begin(), heap.end(), is_better);
    heap.back() = {scores[j], j};
    std::push_heap(heap.begin(), heap.end(), is_better);
  }
  for (int64_t j = 0; j < k; ++j) best[j] = heap[static_cast<size_t>(j)].second;
  std::sort(best, best + k);
}

}  // namespace

at::Tensor top_k(const at::Tensor& scores_in, int64_t k) {
  TORCH_CHECK(scores_in.dim() >= 1 && k >= 1 && scores_in.size(-1) >= k, "top_k: ", k, " of scores ",
              scores_in.sizes());
  const at::Tensor scores = scores_in.contiguous();
  std::vector<int64_t> shape = scores.sizes().vec();
  const int64_t n = shape.back();
  shape.back() = k;
  at::Tensor best = at::empty(shape, scores.options().dtype(at::kLong));
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "top_k", [&] {
    const auto* from = scores.const_data_ptr<scalar_t>();
    auto* to = best.mutable_data_ptr<int64_t>();
    at::parallel_for(0, scores.numel() / n, 1, [&](int64_t begin, int64_t end) {
      std::vector<std::pair<scalar_t, int64_t>> heap(static_cast<size_t>(k));
      for (int64_t row = begin; row < end; ++row) best_of_row(from + row * n, n, heap, to + row * k);
    });
  });
  return best;
}

}  // namespace gca::kernels
