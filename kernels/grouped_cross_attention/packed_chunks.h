#pragma once
// Keys and values of chunks as left operands of tile products. A chunk that is read by several rows is packed
// once for all of them, in a pass of its own; where most chunks are read once (decoding, a long past), each
// is packed as it is read.

#include <vector>

#include "kernels/common/task_queue.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention_tiles.h"

namespace gca::kernels::grouped {

/// Which of keys and values a direction needs as they are (M x dh), and which transposed (dh x M).
struct NeededOperands {
  bool keys, values, keys_transposed, values_transposed;
};
inline constexpr NeededOperands kForForward{true, false, false, true};
inline constexpr NeededOperands kForBackward{true, true, true, false};

/// Those that are not needed have no data.
template <typename Element>
struct ChunkOperands {
  LeftOperand<Element> keys{}, values{}, keys_transposed{}, values_transposed{};
};

template <typename T, typename Math>
class PackedChunks {
 public:
  using Element = typename Math::Element;

  PackedChunks(const Math& math, const Sizes& sizes, const RowView<const T, 4>& k,
               const RowView<const T, 4>& v, const RowView<const int32_t, 2>& idx, NeededOperands needed)
      : math_(math), sizes_(sizes), k_(k), v_(v), needed_(needed) {
    std::vector<int64_t> chosen = number_chunks(idx);
    const int64_t size_bytes = static_cast<int64_t>(chosen.size()) * sizes.kv_heads * element_count() *
                               static_cast<int64_t>(sizeof(Element));
    if (reads_ < 2 * static_cast<int64_t>(chosen.size()) || size_bytes > kMostBytes) return;
    memory_ = TileBuffer<Element>(size_bytes / static_cast<int64_t>(sizeof(Element)));
    run_tasks(static_cast<int64_t>(chosen.size()) * sizes.kv_heads, [&](TaskQueue& tasks) {
      for (int64_t task; tasks.take(task);) {
        const int64_t number = task / sizes_.kv_heads, kv_head = task % sizes_.kv_heads;
        const int64_t chunk = chosen[static_cast<size_t>(number)];
        pack(chunk / sizes_.chunks, chunk % sizes_.chunks, kv_head, place(number, kv_head));
      }
    });
  }

  /// Elements that one chunk and head takes.
  int64_t element_count() const {
    const int64_t rows = sizes_.key_rows * sizes_.head_columns;
    const int64_t turned = operand_size(sizes_.head_columns, sizes_.keys);
    const int64_t plain =
        (needed_.keys || needed_.keys_transposed) + (needed_.values || needed_.values_transposed);
    return padded_columns(plain * rows + (needed_.keys_transposed + needed_.values_transposed) * turned);
  }

  /// The operands of a chunk; `scratch` (element_count()) is written where they are not kept.
  ChunkOperands<Element> operands(const Tile& tile, int64_t chunk, Element* scratch) const {
    if (memory_.data() == nullptr) return pack(tile.batch, chunk, tile.kv_head, scratch);
    const int64_t number = numbers_[static_cast<size_t>(tile.batch * sizes_.chunks + chunk)];
    return walk(tile.batch, chunk, tile.kv_head, place(number, tile.kv_head), /*is_packed=*/true);
  }

 private:
  static constexpr int64_t kMostBytes = int64_t{256} << 20;

  /// Gives the chunks that are read consecutive numbers; the list holds batch * chunks + chunk.
  std::vector<int64_t> number_chunks(const RowView<const int32_t, 2>& idx) {
    std::vector<int64_t> chosen;
    numbers_.assign(static_cast<size_t>(sizes_.batch * sizes_.chunks), -1);
    for (int64_t batch = 0; batch < sizes_.batch; ++batch) {
      for (int64_t row = 0; row < sizes_.rows; ++row) {
        for (int64_t slot = 0; slot < sizes_.slots; ++slot) {
          const int32_t chunk = idx(batch, row)[slot];
          if (chunk < 0) continue;
          reads_ += sizes_.tiles_per_row;
          int64_t& number = numbers_[static_cast<size_t>(batch * sizes_.chunks + chunk)];
          if (number >= 0) continue;
          number = static_cast<int64_t>(chosen.size());
          chosen.push_back(batch * sizes_.chunks + chunk);
        }
      }
    }
    return chosen;
  }

  Element* place(int64_t number, int64_t kv_head) const {
    return memory_.data() + (number * sizes_.kv_heads + kv_head) * element_count();
  }

  ChunkOperands<Element> pack(int64_t batch, int64_t chunk, int64_t kv_head, Element* to) const {
    return walk(batch, chunk, kv_head, to, /*is_packed=*/false);
  }

  /// Where each operand lies in `memory`, which is written first unless it is packed.
  ChunkOperands<Element> walk(int64_t batch, int64_t chunk, int64_t kv_head, Element* memory,
                              bool is_packed) const {
    ChunkOperands<Element> result;
    const auto make = [&](const RowView<const T, 4>& view, bool plain, bool transposed,
                          LeftOperand<Element>& rows, LeftOperand<Element>& turned) {
      if (!plain && !transposed) return;
      Element* tile = memory;
      memory += sizes_.key_rows * sizes_.head_columns;
      if (!is_packed)
        math_.load_rows(sizes_.keys, sizes_.head_dim, view(batch, chunk, 0, kv_head), view.stride(2), tile,
                        sizes_.head_columns);
      rows = math_.left(tile, sizes_.head_columns);
      if (!transposed) return;
      turned = is_packed ? math_.left_transposed_place(sizes_.keys, rows, memory)
                         : math_.left_transposed(sizes_.keys, sizes_.head_dim, rows, memory);
      memory += operand_size(sizes_.head_columns, sizes_.keys);
    };
    make(k_, needed_.keys, needed_.keys_transposed, result.keys, result.keys_transposed);
    make(v_, needed_.values, needed_.values_transposed, result.values, result.values_transposed);
    return result;
  }

  const Math& math_;
  const Sizes& sizes_;
  const RowView<const T, 4>&k_, &v_;
  NeededOperands needed_;
  int64_t reads_ = 0;             // of chunks by tiles, one head
  std::vector<int64_t> numbers_;  // by batch and chunk; -1: not read
  TileBuffer<Element> memory_;    // by number and head; none: packed as they are read
};

}  // namespace gca::kernels::grouped
