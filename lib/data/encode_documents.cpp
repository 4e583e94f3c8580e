#include "lib/data/encode_documents.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <future>
#include <optional>
#include <string>
#include <utility>

#include "lib/core/packed_bytes.h"
#include "lib/data/worker_pool.h"
#include "lib/text/forced_cut.h"

namespace gca::data {
namespace {

/// A cut is judged by the bytes on both sides: this many after it must be known.
constexpr size_t kLookAheadBytes = 16;

/// A block that owns what its views show.
struct OwnedBlock {
  EncodedBlock block;
  std::string name, text;
};

/// Blocks that one task encodes: as many as make up the size of one, so that short documents cost few tasks.
struct Batch {
  std::vector<OwnedBlock> blocks;
  size_t size_bytes = 0;

  void add(OwnedBlock block) {
    size_bytes += sizeof(OwnedBlock) + block.text.size();
    blocks.push_back(std::move(block));
  }
};

/// Cuts documents where no token can span the cut, one block after the other.
class BlockCutter {
 public:
  BlockCutter(text::DocumentSource& documents, const text::Tokenizer& tokenizer, size_t block_bytes)
      : documents_(documents), tokenizer_(tokenizer), block_bytes_(block_bytes) {}

  /// None after the last.
  std::optional<OwnedBlock> next() {
    const bool is_first = !in_document_;
    if (is_first && !documents_.next()) return {};
    OwnedBlock owned;
    owned.name = documents_.name();
    owned.text = cut();
    owned.block.is_first = is_first;
    owned.block.is_last = std::exchange(at_end_, false);
    in_document_ = !owned.block.is_last;
    return owned;
  }

 private:
  /// The next text of the document.
  std::string cut() {
    for (size_t wanted = block_bytes_;; wanted = std::max(block_bytes_, carried_.size())) {
      const size_t goal = carried_.size() + wanted;
      while (carried_.size() < goal && !at_end_) {
        const std::string_view text = documents_.read(goal - carried_.size());
        at_end_ = text.empty();
        carried_ += text;
      }
      size_t cut = carried_.size();
      if (!at_end_) {
        if (carried_.size() > kLookAheadBytes)
          cut = tokenizer_.safe_cut(carried_, carried_.size() - kLookAheadBytes);
        if (cut == carried_.size() && carried_.size() >= text::kMostBytesAtOnce)
          cut = text::forced_cut(std::string_view(carried_).substr(0, text::kMostBytesAtOnce));
        if (cut == carried_.size()) continue;  // No safe place so far: read as much again.
      }
      std::string rest = carried_.substr(cut);
      carried_.resize(cut);
      return std::exchange(carried_, std::move(rest));
    }
  }

  text::DocumentSource& documents_;
  const text::Tokenizer& tokenizer_;
  size_t block_bytes_;
  std::string carried_;  // read, not yet handed on
  bool in_document_ = false;
  bool at_end_ = false;  // of the document: all of it is read
};

/// The next batch of some `block_bytes`; empty after the last block.
Batch next_batch(BlockCutter& cutter, size_t block_bytes) {
  Batch batch;
  while (batch.size_bytes < block_bytes) {
    std::optional<OwnedBlock> owned = cutter.next();
    if (!owned) break;
    batch.add(*std::move(owned));
  }
  return batch;
}

void encode(Batch& batch, const text::Tokenizer& tokenizer) {
  for (OwnedBlock& owned : batch.blocks) {
    const std::vector<int32_t> ids =
        tokenizer.encode(owned.text, &owned.block.faults, /*goes_on=*/!owned.block.is_first);
    if (owned.block.is_first) owned.block.ids = tokenizer.prefix_ids();
    owned.block.ids.insert(owned.block.ids.end(), ids.begin(), ids.end());
  }
}

using Sink = std::function<void(const EncodedBlock&)>;

void hand_on(Batch& batch, const Sink& sink) {
  for (OwnedBlock& owned : batch.blocks) {
    owned.block.name = owned.name;
    owned.block.text = owned.text;
    sink(owned.block);
  }
}

void encode_alone(BlockCutter& cutter, const text::Tokenizer& tokenizer, const EncodeOptions& options,
                  const Sink& sink) {
  // Batches in flight bound the memory: a few for each thread, so that none waits for the one that hands
  // results on.
  const size_t most_pending = static_cast<size_t>(std::max(1, options.threads)) * 4;
  std::deque<std::future<Batch>> pending;
  WorkerPool pool(options.threads);
  const auto hand_on_oldest = [&] {
    Batch batch = pending.front().get();
    pending.pop_front();
    hand_on(batch, sink);
  };
  for (Batch batch = next_batch(cutter, options.block_bytes); !batch.blocks.empty();
       batch = next_batch(cutter, options.block_bytes)) {
    if (pending.size() >= most_pending) hand_on_oldest();
    pending.push_back(pool.submit([&tokenizer, batch = std::move(batch)]() mutable {
      encode(batch, tokenizer);
      return std::move(batch);
    }));
  }
  while (!pending.empty()) hand_on_oldest();
}

/// What encoding adds to a block goes from rank to rank as bytes.
void pack(std::string& bytes, const EncodedBlock& block) {
  const size_t count = block.ids.size();
  gca::pack(bytes, &count, 1);
  gca::pack(bytes, block.ids.data(), count);
  gca::pack(bytes, &block.faults, 1);
}

void unpack(std::string_view& bytes, EncodedBlock& block) {
  size_t count = 0;
  gca::unpack(bytes, &count, 1);
  block.ids.resize(count);
  gca::unpack(bytes, block.ids.data(), count);
  gca::unpack(bytes, &block.faults, 1);
}

/// Rounds of batches: batch i of a round is encoded by rank i % N.
void encode_shared(BlockCutter& cutter, const text::Tokenizer& tokenizer, const EncodeOptions& options,
                   const Sink& sink) {
  const EncodeShare& share = options.share;
  const auto ranks = static_cast<size_t>(share.ranks);
  const auto own = static_cast<size_t>(share.rank);
  const size_t batches_of_round = ranks * static_cast<size_t>(std::max(1, options.threads)) * 2;
  WorkerPool pool(options.threads);
  std::exception_ptr failure;  // of the sink; the others hear of it when they meet next
  for (bool at_end = false; !at_end;) {
    std::vector<Batch> round;
    std::vector<std::string> results = share.gather([&] {
      if (failure) std::rethrow_exception(failure);
      std::vector<std::pair<size_t, std::future<Batch>>> encoding;
      while (round.size() < batches_of_round && !at_end) {
        Batch batch = next_batch(cutter, options.block_bytes);
        at_end = batch.blocks.empty();
        if (at_end) break;
        const size_t place = round.size();
        round.emplace_back();
        if (place % ranks == own)
          encoding.emplace_back(place, pool.submit([&tokenizer, batch = std::move(batch)]() mutable {
            encode(batch, tokenizer);
            return std::move(batch);
          }));
        else if (own == 0)
          round[place] = std::move(batch);
      }
      std::string bytes;
      for (auto& [place, batch] : encoding) {
        round[place] = batch.get();
        if (own > 0)
          for (const OwnedBlock& owned : round[place].blocks) pack(bytes, owned.block);
      }
      return bytes;
    });
    if (own > 0) continue;
    std::vector<std::string_view> rest(results.begin(), results.end());
    try {
      for (size_t place = 0; place < round.size(); ++place) {
        if (const size_t rank = place % ranks; rank != own)
          for (OwnedBlock& owned : round[place].blocks) unpack(rest[rank], owned.block);
        hand_on(round[place], sink);
      }
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
  }
  share.gather([&] {
    if (failure) std::rethrow_exception(failure);
    return std::string();
  });
}

}  // namespace

void encode_documents(text::DocumentSource& documents, const text::Tokenizer& tokenizer,
                      const EncodeOptions& options, const std::function<void(const EncodedBlock&)>& sink) {
  BlockCutter cutter(documents, tokenizer, options.block_bytes);
  if (options.share.ranks > 1)
    encode_shared(cutter, tokenizer, options, sink);
  else
    encode_alone(cutter, tokenizer, options, sink);
}

}  // namespace gca::data
