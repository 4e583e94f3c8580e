#pragma once
// Chunk memory of a text made piece by piece, in any order. An entry of chunk memory depends on its chunk and
// on the N_low W positions before it, and on no absolute position: any stretch can be made on its own after
// that warm-up, on several threads, and made again where the text has changed.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "lib/model/language_model.h"
#include "lib/model/memory/stored_chunk_memory.h"
#include "lib/parallel/communicator.h"

namespace gca::model {

/// Copies out.size() text tokens from number `first` on. Called from several threads by read_memory().
using TextSource = std::function<void(int64_t first, std::span<int32_t> out)>;

/// Entries of chunk memory, of consecutive chunks.
struct MemoryEntries {
  at::Tensor landmarks;  ///< (1, c, d) float32
  at::Tensor keys;       ///< (1, c, S-1, H_kv, dh), compute type
  at::Tensor values;
};

/// Of whole chunks of a text that begins with chunk 0. `model` must outlive it. Thread-safe.
class MemoryReader {
 public:
  /// segment_positions as in TextFeeder.
  MemoryReader(const LanguageModel& model, TextSource text, int64_t segment_positions = 0);

  /// Entries of chunks [first, end).
  MemoryEntries entries(int64_t first, int64_t end) const;

  /// A past that stands before chunk `chunk` and goes on as after all that comes before, with `memory`,
  /// which must hold the chunks before it. Upper layers begin there (TextFeeder::unneeded()).
  std::unique_ptr<Past> past_at(int64_t chunk, std::unique_ptr<ChunkMemory> memory) const;

  /// The text has changed in tokens [first, end): makes the entries that this changes again, [chunks it
  /// touches and those that the windows reach from there], as far as `memory` has them.
  void update(StoredChunkMemory& memory, int64_t first, int64_t end) const;

 private:
  /// Runs the positions of chunks [first, end) after `past`.
  void run(int64_t first, int64_t end, Past& past) const;
  /// A past before `chunk` whose lower windows hold what they would; without chunk memory.
  std::unique_ptr<Past> warm(int64_t chunk) const;

  const LanguageModel& model_;
  TextSource text_;
  int64_t segment_positions_;
};

struct ReadMemoryOptions {
  int threads = 1;           ///< pieces of text at a time, each on one thread; 1: one after the other
  int64_t piece_chunks = 0;  ///< of a piece; 0: some 64K positions
  int64_t segment_positions = 0;
  std::function<void(int64_t chunks)>
      progress;  ///< after each piece, with the chunks so far; may throw to stop
  /// Ranks that share the pieces out: on rank 0 they are appended, as one process would. Null: this process alone.
  parallel::Communicator* ranks = nullptr;
};

/// The first `chunks` chunks of a text.
struct MemoryText {
  TextSource text;
  int64_t chunks = 0;
};

/// Appends the entries of all texts to `memory`, in order; each is read as if it stood alone.
void read_memories(const LanguageModel& model, std::span<const MemoryText> texts, ChunkMemory& memory,
                   const ReadMemoryOptions& options);

/// The same of one text.
void read_memory(const LanguageModel& model, const TextSource& text, int64_t chunks, ChunkMemory& memory,
                 const ReadMemoryOptions& options);

}  // namespace gca::model
