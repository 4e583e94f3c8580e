#pragma once
// Okapi BM25 over the chunks of a text (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25
// and Beyond", 2009, k1 = 1.2): what word counts alone retrieve. Chunks have one length, so its correction falls away.
//
//   score(c) = sum over the distinct terms q of the query   idf(q) tf(q, c) (k1 + 1) / (tf(q, c) + k1)
//   idf(q)   = ln(1 + (C - df(q) + 0.5) / (df(q) + 0.5)),   df over the C candidates

#include <cstdint>
#include <span>
#include <vector>

namespace gca::tasks {

/// The K best of the chunks text[c chunk_text, (c + 1) chunk_text), 0 <= c < candidates, by falling score,
/// lower chunk first on a tie; fewer where there are fewer candidates. One pass over the text.
std::vector<int64_t> bm25_top_k(std::span<const int32_t> text, int64_t chunk_text, int64_t candidates,
                                std::span<const int32_t> query, int64_t K);

}  // namespace gca::tasks
