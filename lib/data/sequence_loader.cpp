#include "lib/data/sequence_loader.h"

#include <algorithm>

#include "lib/core/error.h"
#include "lib/data/philox_shuffle.h"

namespace gca::data {

SequenceLoader::SequenceLoader(SequenceIndex index, std::vector<SequenceEntry> entries, ChunkLayout layout,
                               uint64_t seed, bool shuffle, PieceBytes pieces,
                               std::optional<ChunkVectors> vectors)
    : index_(std::move(index)),
      entries_(std::move(entries)),
      layout_(layout),
      seed_(seed),
      shuffle_(shuffle),
      pieces_(std::move(pieces)),
      vectors_(std::move(vectors)) {
  if (entries_.empty())
    fail_usage(index_.tokens().folder(), "gives no sequence", "add text, or choose a shorter chunk size");
}

std::vector<int64_t> SequenceLoader::permutation(int64_t epoch) const {
  if (shuffle_) return philox_permutation(sequence_count(), seed_, static_cast<uint64_t>(epoch));
  std::vector<int64_t> order(entries_.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

double SequenceLoader::piece_bytes_of(std::span<const int64_t> targets) const {
  int64_t bytes = 0;
  for (const int64_t target : targets)
    if (target != kNoTarget) bytes += pieces_.of_id.at(static_cast<size_t>(target));
  return static_cast<double>(bytes);
}

/// Of the documents that a sequence was cut from, as one.
double SequenceLoader::source_scale(const SequenceEntry& entry) const {
  if (pieces_.is_exact) return 1.0;
  DocumentBytes bytes;
  for (const int64_t number : index_.documents_of(entry)) {
    const auto [known, is_new] = document_bytes_.try_emplace(number);
    if (is_new) {
      const TokenStore& tokens = index_.tokens();
      const TokenDocument& document = tokens.documents()[static_cast<size_t>(number)];
      known->second =
          count_piece_bytes(pieces_, document.tokens, document.bytes,
                            [&](int64_t first, std::span<int32_t> out) { tokens.read(number, first, out); });
    }
    bytes += known->second;
  }
  return bytes.source_scale();
}

void SequenceLoader::add_vectors(Batch& batch, std::span<const SequenceEntry> rows) const {
  const int64_t text = vectors_->chunk_text();
  const int64_t e = vectors_->size();
  batch.vector_size = e;
  batch.chunks = batch.length / (text + 1);
  batch.chunk_vectors.assign(static_cast<size_t>(batch.rows * batch.chunks * e), 0.0F);
  for (size_t row = 0; row < rows.size(); ++row) {
    const auto begin = row * static_cast<size_t>(batch.chunks * e);
    const auto count = static_cast<size_t>(rows[row].tokens / text * e);
    vectors_->read(rows[row].document, rows[row].first_token / text,
                   std::span(batch.chunk_vectors).subspan(begin, count));
  }
}

Batch SequenceLoader::batch(int64_t consumed, int64_t rows) const {
  Batch batch;
  batch.rows = rows;
  std::vector<LaidOutText> texts;
  std::vector<SequenceEntry> read;
  for (int64_t i = consumed; i < consumed + rows; ++i) {
    const int64_t epoch = i / sequence_count();
    if (epoch != cached_epoch_) {
      cached_permutation_ = permutation(epoch);
      cached_epoch_ = epoch;
    }
    const int64_t number = cached_permutation_[static_cast<size_t>(i % sequence_count())];
    const SequenceEntry& entry = entries_[static_cast<size_t>(number)];
    int64_t next = kNoTarget;
    const std::vector<int32_t> text = index_.read(entry, &next);
    texts.push_back(lay_out(text, next, layout_));
    if (!pieces_.of_id.empty())
      batch.target_bytes += source_scale(entry) * piece_bytes_of(texts.back().targets);
    batch.text_tokens += entry.tokens;
    if (vectors_) read.push_back(entry);
    batch.length = std::max(batch.length, static_cast<int64_t>(texts.back().ids.size()));
  }
  batch.ids.assign(static_cast<size_t>(rows * batch.length), 0);
  batch.targets.assign(static_cast<size_t>(rows * batch.length), kNoTarget);
  for (int64_t row = 0; row < rows; ++row) {
    const LaidOutText& text = texts[static_cast<size_t>(row)];
    std::copy(text.ids.begin(), text.ids.end(), batch.ids.begin() + row * batch.length);
    std::copy(text.targets.begin(), text.targets.end(), batch.targets.begin() + row * batch.length);
  }
  if (vectors_) add_vectors(batch, read);
  for (const int64_t target : batch.targets) batch.target_count += target == kNoTarget ? 0 : 1;
  return batch;
}

}  // namespace gca::data
