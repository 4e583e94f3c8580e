#include "lib/data/encode_documents.h"

#include <algorithm>
#include <deque>
#include <future>
#include <string>
#include <utility>

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

/// Calls `sink(text, is_last)` with the text of the current document, cut where no token can span the cut.
template <class Sink>
void cut_document(text::DocumentSource& documents, const text::Tokenizer& tokenizer, size_t block_bytes,
                  const Sink& sink) {
  std::string carried;  // read, not yet handed on
  size_t wanted = block_bytes;
  for (bool at_end = false; !at_end;) {
    const size_t goal = carried.size() + wanted;
    while (carried.size() < goal && !at_end) {
      const std::string_view text = documents.read(goal - carried.size());
      at_end = text.empty();
      carried += text;
    }
    size_t cut = carried.size();
    if (!at_end) {
      if (carried.size() > kLookAheadBytes)
        cut = tokenizer.safe_cut(carried, carried.size() - kLookAheadBytes);
      if (cut == carried.size() && carried.size() >= text::kMostBytesAtOnce)
        cut = text::forced_cut(std::string_view(carried).substr(0, text::kMostBytesAtOnce));
      if (cut == carried.size()) {  // No safe place so far: read as much again.
        wanted = std::max(block_bytes, carried.size());
        continue;
      }
    }
    wanted = block_bytes;
    std::string rest = carried.substr(cut);
    carried.resize(cut);
    sink(std::exchange(carried, std::move(rest)), at_end);
  }
}

}  // namespace

void encode_documents(text::DocumentSource& documents, const text::Tokenizer& tokenizer,
                      const EncodeOptions& options, const std::function<void(const EncodedBlock&)>& sink) {
  // Batches in flight bound the memory: a few for each thread, so that none waits for the one that hands
  // results on.
  const size_t most_pending = static_cast<size_t>(std::max(1, options.threads)) * 4;
  std::deque<std::future<Batch>> pending;
  WorkerPool pool(options.threads);
  const auto hand_on_oldest = [&] {
    Batch batch = pending.front().get();
    pending.pop_front();
    for (OwnedBlock& owned : batch.blocks) {
      owned.block.name = owned.name;
      owned.block.text = owned.text;
      sink(owned.block);
    }
  };
  Batch batch;
  const auto submit = [&] {
    if (pending.size() >= most_pending) hand_on_oldest();
    pending.push_back(pool.submit([&tokenizer, batch = std::exchange(batch, Batch())]() mutable {
      for (OwnedBlock& owned : batch.blocks) {
        const std::vector<int32_t> ids =
            tokenizer.encode(owned.text, &owned.block.faults, /*goes_on=*/!owned.block.is_first);
        if (owned.block.is_first) owned.block.ids = tokenizer.prefix_ids();
        owned.block.ids.insert(owned.block.ids.end(), ids.begin(), ids.end());
      }
      return std::move(batch);
    }));
  };
  while (documents.next()) {
    bool is_first = true;
    cut_document(documents, tokenizer, options.block_bytes, [&](std::string text, bool is_last) {
      OwnedBlock owned;
      owned.block.is_first = std::exchange(is_first, false);
      owned.block.is_last = is_last;
      owned.name = documents.name();
      owned.text = std::move(text);
      batch.add(std::move(owned));
      if (batch.size_bytes >= options.block_bytes) submit();
    });
  }
  if (!batch.blocks.empty()) submit();
  while (!pending.empty()) hand_on_oldest();
}

}  // namespace gca::data
