#include "lib/tasks/recall/bm25.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace gca::tasks {

std::vector<int64_t> bm25_top_k(std::span<const int32_t> text, int64_t chunk_text, int64_t candidates,
                                std::span<const int32_t> query, int64_t K) {
  constexpr double k1 = 1.2;
  // Number of each distinct term of the query; -1 for other tokens.
  const int32_t largest = query.empty() ? -1 : *std::max_element(query.begin(), query.end());
  std::vector<int32_t> term_of(static_cast<size_t>(largest + 1), -1);
  int32_t terms = 0;
  for (const int32_t id : query)
    if (int32_t& term = term_of[static_cast<size_t>(id)]; term < 0) term = terms++;

  struct Count {
    int64_t chunk;
    int32_t term;
    int32_t tf;
  };
  std::vector<Count> counts;  // of terms that occur, by chunk
  std::vector<int64_t> df(static_cast<size_t>(terms), 0);
  std::vector<int32_t> tf(static_cast<size_t>(terms), 0);
  for (int64_t chunk = 0; chunk < candidates; ++chunk) {
    const size_t begin = counts.size();
    for (const int32_t id :
         text.subspan(static_cast<size_t>(chunk * chunk_text), static_cast<size_t>(chunk_text))) {
      if (id > largest || term_of[static_cast<size_t>(id)] < 0) continue;
      const int32_t term = term_of[static_cast<size_t>(id)];
      if (tf[static_cast<size_t>(term)]++ == 0) counts.push_back({chunk, term, 0});
    }
    for (size_t i = begin; i < counts.size(); ++i) {
      const auto term = static_cast<size_t>(counts[i].term);
      counts[i].tf = std::exchange(tf[term], 0);
      ++df[term];
    }
  }

  std::vector<double> score(static_cast<size_t>(candidates), 0.0);
  for (const Count& count : counts) {
    const auto n = static_cast<double>(df[static_cast<size_t>(count.term)]);
    const double idf = std::log(1.0 + (static_cast<double>(candidates) - n + 0.5) / (n + 0.5));
    score[static_cast<size_t>(count.chunk)] += idf * count.tf * (k1 + 1) / (count.tf + k1);
  }
  std::vector<int64_t> order(static_cast<size_t>(candidates));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto kept = order.begin() + std::min(K, candidates);
  std::partial_sort(order.begin(), kept, order.end(), [&](int64_t a, int64_t b) {
    const double difference = score[static_cast<size_t>(a)] - score[static_cast<size_t>(b)];
    return difference > 0 || (difference == 0 && a < b);
  });
  return {order.begin(), kept};
}

}  // namespace gca::tasks
