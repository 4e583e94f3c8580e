#include "lib/model/memory/memory_reader.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <deque>
#include <future>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/core/packed_bytes.h"
#include "lib/data/worker_pool.h"
#include "lib/model/text_feeder.h"
#include "lib/parallel/shared_work.h"

namespace gca::model {
namespace {

/// Every operator on the calling thread alone, and on threads that begin meanwhile.
class OneThreadGuard {
 public:
  OneThreadGuard() : before_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneThreadGuard() { at::set_num_threads(before_); }
  OneThreadGuard(const OneThreadGuard&) = delete;
  OneThreadGuard& operator=(const OneThreadGuard&) = delete;

 private:
  int before_;
};

}  // namespace

MemoryReader::MemoryReader(const LanguageModel& model, TextSource text, int64_t segment_positions)
    : model_(model),
      text_(std::move(text)),
      segment_positions_(segment_positions > 0 ? segment_positions
                                               : default_segment_positions(model.config())) {
  TORCH_CHECK(backbone_kind(model.config()).keeps_chunk_memory, "this model keeps no chunk memory");
}

void MemoryReader::run(int64_t first, int64_t end, Past& past) const {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = model_.config();
  const int64_t chunk_text = config.chunk_text_size();
  const int64_t landmark = chunk_layout_of(config).landmark_id;
  const int64_t most = std::max<int64_t>(1, segment_positions_ / config.chunk_size);  // chunks of a segment
  ForwardOptions options;
  options.memory_only = true;
  std::vector<int32_t> tokens;
  for (int64_t chunk = first; chunk < end; chunk += most) {
    const int64_t count = std::min(most, end - chunk);
    tokens.resize(static_cast<size_t>(count * chunk_text));
    text_(chunk * chunk_text, tokens);
    at::Tensor ids = at::empty({1, count * config.chunk_size}, at::kLong);
    auto* out = ids.mutable_data_ptr<int64_t>();
    for (int64_t i = 0; i < count; ++i) {
      out = std::copy_n(tokens.begin() + i * chunk_text, chunk_text, out);
      *out++ = landmark;
    }
    model_.forward(ids, past, options);
  }
}

std::unique_ptr<Past> MemoryReader::warm(int64_t chunk) const {
  const int64_t S = model_.config().chunk_size;
  const int64_t begin = std::max<int64_t>(0, chunk - (reach_of(model_.config()).memory + S - 1) / S);
  std::unique_ptr<Past> past = model_.begin(begin * S);
  run(begin, chunk, *past);
  past->keep_memory_in(make_tensor_chunk_memory());  // these entries lack what came before
  return past;
}

MemoryEntries MemoryReader::entries(int64_t first, int64_t end) const {
  TORCH_CHECK(first < end, "no chunk to read");
  const std::unique_ptr<Past> past = warm(first);
  run(first, end, *past);
  const at::Tensor every = at::arange(end - first, at::kInt).view({1, 1, -1});
  const ChunkView view = past->memory()->read(every);
  return {past->memory()->landmarks(), view.keys, view.values};
}

std::unique_ptr<Past> MemoryReader::past_at(int64_t chunk, std::unique_ptr<ChunkMemory> memory) const {
  TORCH_CHECK(memory->chunk_count() == chunk, "chunk memory has ", memory->chunk_count(), " chunks, not ",
              chunk);
  std::unique_ptr<Past> past = warm(chunk);
  past->keep_memory_in(std::move(memory));
  return past;
}

void MemoryReader::update(StoredChunkMemory& memory, int64_t first, int64_t end) const {
  const data::ChunkLayout layout = chunk_layout_of(model_.config());
  const int64_t S = layout.chunk_size;
  const int64_t first_chunk = layout.position_of(first) / S;
  const int64_t last_reached = layout.position_of(end - 1) + reach_of(model_.config()).memory;
  const int64_t end_chunk = std::min(memory.chunk_count(), last_reached / S + 1);
  if (first >= end || first_chunk >= end_chunk) return;
  const MemoryEntries changed = entries(first_chunk, end_chunk);
  memory.replace(first_chunk, changed.landmarks, changed.keys, changed.values);
}

namespace {

/// Chunks of a text that are read at a time.
struct Piece {
  const MemoryText* text = nullptr;
  int64_t first = 0;
  int64_t end = 0;
};

std::vector<Piece> pieces_of(const LanguageModel& model, std::span<const MemoryText> texts,
                             const ReadMemoryOptions& options) {
  constexpr int64_t kPiecePositions = int64_t{1} << 16;
  const int64_t most = options.piece_chunks > 0
                           ? options.piece_chunks
                           : std::max<int64_t>(1, kPiecePositions / model.config().chunk_size);
  std::vector<Piece> pieces;
  for (const MemoryText& text : texts)
    for (int64_t first = 0; first < text.chunks; first += most)
      pieces.push_back({&text, first, std::min(text.chunks, first + most)});
  return pieces;
}

using EntriesSink = std::function<void(const MemoryEntries& entries)>;

/// Hands the entries of all pieces on, in order.
void read_pieces(const LanguageModel& model, std::span<const Piece> pieces, const ReadMemoryOptions& options,
                 const EntriesSink& sink) {
  const auto read = [&model, &options](const Piece& piece) {
    const MemoryReader reader(model, piece.text->text, options.segment_positions);
    return reader.entries(piece.first, piece.end);
  };
  if (options.threads <= 1) {
    for (const Piece& piece : pieces) sink(read(piece));
    return;
  }
  const OneThreadGuard one_thread;
  data::WorkerPool pool(options.threads);
  std::deque<std::future<MemoryEntries>> ahead;  // no more pieces than threads wait to be handed on
  for (auto next = pieces.begin(); next != pieces.end() || !ahead.empty();) {
    for (; next != pieces.end() && static_cast<int>(ahead.size()) < options.threads + 1; ++next)
      ahead.push_back(pool.submit([&read, piece = *next] { return read(piece); }));
    const MemoryEntries entries = ahead.front().get();
    ahead.pop_front();
    sink(entries);
  }
}

/// Entries as bytes, and back: the three tensors one after the other.
void pack(std::string& bytes, const at::Tensor& x) {
  const at::Tensor whole = x.to(at::kCPU).contiguous();
  gca::pack(bytes, static_cast<const char*>(whole.const_data_ptr()), whole.nbytes());
}

at::Tensor unpack(std::string_view& bytes, at::IntArrayRef shape, at::ScalarType type) {
  at::Tensor x = at::empty(shape, type);
  gca::unpack(bytes, static_cast<char*>(x.mutable_data_ptr()), x.nbytes());
  return x;
}

/// Each rank reads some pieces in a row, one a thread, before it meets the others.
void read_shared(const LanguageModel& model, std::span<const Piece> pieces, const ReadMemoryOptions& options,
                 const EntriesSink& sink) {
  const auto count = static_cast<int64_t>(pieces.size());
  const int64_t in_a_row = std::min<int64_t>(parallel::whole_share(count, *options.ranks), options.threads);
  const auto row_of = [&](int64_t row) {
    return pieces.subspan(static_cast<size_t>(row * in_a_row),
                          static_cast<size_t>(std::min(in_a_row, count - row * in_a_row)));
  };
  parallel::SharedWork shared;
  shared.name = "piece of text";
  shared.pieces = (count + in_a_row - 1) / in_a_row;
  shared.work = [&](int64_t row) {
    std::string bytes;
    read_pieces(model, row_of(row), options, [&](const MemoryEntries& entries) {
      pack(bytes, entries.landmarks);
      pack(bytes, entries.keys);
      pack(bytes, entries.values);
    });
    return bytes;
  };
  const ModelConfig& config = model.config();
  shared.take = [&](int64_t row, std::string_view bytes) {
    for (const Piece& piece : row_of(row)) {
      const int64_t chunks = piece.end - piece.first;
      const std::vector<int64_t> rows = {1, chunks, config.chunk_text_size(), config.n_kv_heads,
                                         config.head_dim()};
      MemoryEntries entries;
      entries.landmarks = unpack(bytes, {1, chunks, config.d_model}, at::kFloat);
      entries.keys = unpack(bytes, rows, model.compute_dtype());
      entries.values = unpack(bytes, rows, model.compute_dtype());
      sink(entries);
    }
  };
  parallel::share_out(*options.ranks, shared);
}

}  // namespace

void read_memories(const LanguageModel& model, std::span<const MemoryText> texts, ChunkMemory& memory,
                   const ReadMemoryOptions& options) {
  const std::vector<Piece> pieces = pieces_of(model, texts, options);
  const auto append = [&](const MemoryEntries& entries) {
    memory.append(entries.landmarks, entries.keys, entries.values);
    if (options.progress) options.progress(memory.chunk_count());
  };
  if (options.ranks == nullptr)
    read_pieces(model, pieces, options, append);
  else
    read_shared(model, pieces, options, append);
}

void read_memory(const LanguageModel& model, const TextSource& text, int64_t chunks, ChunkMemory& memory,
                 const ReadMemoryOptions& options) {
  const MemoryText whole{text, chunks};
  read_memories(model, {&whole, 1}, memory, options);
}

}  // namespace gca::model
