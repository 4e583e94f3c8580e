#include "lib/tasks/recall/bm25.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

using namespace gca;

namespace {

/// Every chunk's score, by the formula of the header, word by word.
std::vector<double> scores_by_the_book(const std::vector<int32_t>& text, int64_t chunk_text,
                                       int64_t candidates, const std::vector<int32_t>& query) {
  std::vector<std::map<int32_t, int>> tf(static_cast<size_t>(candidates));
  for (int64_t j = 0; j < candidates * chunk_text; ++j)
    ++tf[static_cast<size_t>(j / chunk_text)][text[static_cast<size_t>(j)]];
  std::vector<double> scores(static_cast<size_t>(candidates), 0.0);
  for (const int32_t term : std::set<int32_t>(query.begin(), query.end())) {
    const auto df = static_cast<double>(
        std::count_if(tf.begin(), tf.end(), [&](const auto& counts) { return counts.contains(term); }));
    const double idf = std::log(1 + (static_cast<double>(candidates) - df + 0.5) / (df + 0.5));
    for (size_t c = 0; c < tf.size(); ++c)
      if (tf[c].contains(term)) scores[c] += idf * tf[c][term] * 2.2 / (tf[c][term] + 1.2);
  }
  return scores;
}

}  // namespace

TEST_CASE("BM25 ranks chunks as its formula says") {
  uint32_t state = 1;
  const auto draw = [&](uint32_t n) {
    state = state * 1664525U + 1013904223U;
    return static_cast<int32_t>((state >> 10) % n);
  };
  for (int round = 0; round < 20; ++round) {
    std::vector<int32_t> text, query;
    for (int i = 0; i < 40 * 12; ++i) text.push_back(draw(60));
    for (int i = 0; i < 12; ++i) query.push_back(draw(80));
    const std::vector<int64_t> best = tasks::bm25_top_k(text, 12, 35, query, 5);
    const std::vector<double> scores = scores_by_the_book(text, 12, 35, query);
    REQUIRE(best.size() == 5);
    CHECK(std::set<int64_t>(best.begin(), best.end()).size() == 5);
    std::vector<double> falling = scores;
    std::sort(falling.rbegin(), falling.rend());
    for (size_t i = 0; i < best.size(); ++i)
      CHECK(std::abs(scores[static_cast<size_t>(best[i])] - falling[i]) <= 1e-12);
  }
}

TEST_CASE("A rare word decides, a word of every chunk does not, and nothing comes from nothing") {
  const std::vector<int32_t> text = {1, 1, 1, 2, 1, 3, 1, 1, 4, 1, 2, 2};
  CHECK(tasks::bm25_top_k(text, 3, 4, std::vector<int32_t>{1, 3}, 1) == std::vector<int64_t>{1});
  CHECK(tasks::bm25_top_k(text, 3, 4, std::vector<int32_t>{4, 9, -0}, 1) == std::vector<int64_t>{2});
  CHECK(tasks::bm25_top_k(text, 3, 2, std::vector<int32_t>{2}, 5) == std::vector<int64_t>{1, 0});
  CHECK(tasks::bm25_top_k(text, 3, 0, std::vector<int32_t>{2}, 5).empty());
  CHECK(tasks::bm25_top_k(text, 3, 2, std::vector<int32_t>{}, 1) == std::vector<int64_t>{0});
}
