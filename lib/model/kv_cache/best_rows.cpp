#include "lib/model/kv_cache/best_rows.h"

#include <algorithm>
#include <numeric>

namespace gca::model {

std::vector<int64_t> best_rows(const float* score, int64_t count, int64_t kept) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), [score](int64_t a, int64_t b) {
    return score[a] != score[b] ? score[a] > score[b] : a > b;
  });
  order.resize(static_cast<size_t>(kept));
  return order;
}

}  // namespace gca::model
