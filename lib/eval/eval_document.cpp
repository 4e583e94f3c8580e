#include "lib/eval/eval_document.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

namespace gca::eval {
namespace {

EvalDocument stored_document(const data::TokenStore& tokens, int64_t number,
                             const std::optional<data::ChunkVectors>& vectors) {
  const data::TokenDocument& document = tokens.documents()[static_cast<size_t>(number)];
  EvalDocument stored{
      document.name, document.tokens,
      [tokens, number](int64_t first, std::span<int32_t> out) { tokens.read(number, first, out); },
      document.bytes};
  if (vectors) {
    stored.vector_size = vectors->size();
    stored.read_vectors = [vectors = *vectors, number](int64_t first, std::span<float> out) {
      vectors.read(number, first, out);
    };
  }
  return stored;
}

/// Of the documents that sequences were cut from, without what was dropped at the end.
int64_t joined_source_bytes(const data::SequenceIndex& index, std::span<const data::SequenceEntry> entries) {
  std::set<int64_t> numbers;
  double kept = 0, tokens = 0, bytes = 0;
  for (const data::SequenceEntry& entry : entries) {
    kept += entry.tokens;
    for (const int64_t number : index.documents_of(entry)) numbers.insert(number);
  }
  for (const int64_t number : numbers) {
    const data::TokenDocument& document = index.tokens().documents()[static_cast<size_t>(number)];
    tokens += static_cast<double>(document.tokens);
    bytes += static_cast<double>(document.bytes);
  }
  return std::llround(bytes * kept / tokens);
}

/// A joined split is one text: the index reads on past the end of its first document.
EvalDocument joined_document(const data::SequenceIndex& index, std::span<const data::SequenceEntry> entries) {
  const int64_t first_document = entries.front().document;
  const int64_t tokens = std::accumulate(entries.begin(), entries.end(), int64_t{0},
                                         [](int64_t sum, const auto& entry) { return sum + entry.tokens; });
  return {"joined documents", tokens,
          [index, first_document](int64_t first, std::span<int32_t> out) {
            const data::SequenceEntry entry{first_document, first, static_cast<int32_t>(out.size())};
            int64_t next = 0;
            const std::vector<int32_t> text = index.read(entry, &next);
            std::copy(text.begin(), text.end(), out.begin());
          },
          joined_source_bytes(index, entries)};
}

}  // namespace

std::vector<EvalDocument> eval_documents(const data::TokenStore& tokens,
                                         const std::optional<data::ChunkVectors>& vectors) {
  std::vector<EvalDocument> documents;
  for (size_t i = 0; i < tokens.documents().size(); ++i)
    documents.push_back(stored_document(tokens, static_cast<int64_t>(i), vectors));
  return documents;
}

std::span<const data::SequenceEntry> entries_of(const data::SequenceIndex& index, EvalSplit split) {
  return split == EvalSplit::train   ? index.train()
         : split == EvalSplit::valid ? index.valid()
                                     : index.held_out();
}

std::vector<EvalDocument> eval_documents(const data::SequenceIndex& index, EvalSplit split,
                                         const std::optional<data::ChunkVectors>& vectors) {
  const auto entries = entries_of(index, split);
  if (entries.empty()) return {};
  if (index.settings().join_documents) return {joined_document(index, entries)};
  std::set<int64_t> numbers;
  for (const auto& entry : entries) numbers.insert(entry.document);
  std::vector<EvalDocument> documents;
  for (const int64_t number : numbers) documents.push_back(stored_document(index.tokens(), number, vectors));
  return documents;
}

EvalDocument eval_document(const std::string& name, std::vector<int32_t> tokens, int64_t source_bytes) {
  const auto held = std::make_shared<const std::vector<int32_t>>(std::move(tokens));
  return {name, static_cast<int64_t>(held->size()),
          [held](int64_t first, std::span<int32_t> out) {
            std::copy_n(held->begin() + first, out.size(), out.begin());
          },
          source_bytes};
}

std::vector<EvalSpan> choose_eval_spans(std::span<const EvalDocument> documents, int64_t span_tokens,
                                        int64_t max_tokens) {
  std::vector<EvalSpan> spans;
  int64_t left = max_tokens > 0 ? max_tokens : INT64_MAX;
  bool found = true;
  for (int64_t first = 0; found && left > 0; first += span_tokens) {
    found = false;
    for (size_t i = 0; i < documents.size() && left > 0; ++i) {
      const int64_t tokens = std::min({documents[i].tokens - first, span_tokens, left});
      if (tokens <= 0) continue;
      spans.push_back({static_cast<int64_t>(i), first, tokens});
      left -= tokens;
      found = true;
    }
  }
  std::sort(spans.begin(), spans.end(), [](const auto& a, const auto& b) {
    return std::tie(a.document, a.first) < std::tie(b.document, b.first);
  });
  return spans;
}

}  // namespace gca::eval
