#pragma once
// Large products of bf16 matrices, c = sum of a_t b_t, in the float of their sums; what becomes of c is the
// caller's.
//
// Bound by the multiply-add units. b is packed into panels of 64 columns, once a call and by all threads
// where it is small enough to stay in the last cache; tasks of 128 rows of c then take the panels one after
// another. Where it is larger, a task packs its own panels and takes up to 1024 rows through each. a's rows
// are read where they lie, or packed by their task where a is transposed. A depth above kOnePassDepth is cut
// into blocks, whose sums stand in memory.
//
// The order of every sum depends on the depth alone, so results have the same bits with any number of
// threads.

#include <algorithm>
#include <span>
#include <vector>

#include "kernels/common/bf16_tile_kernels.h"
#include "kernels/common/task_queue.h"
#include "kernels/common/thread_workspace.h"

namespace gca::kernels {

/// A bf16 matrix in memory: element (i, l) at data[i * stride + l], of a transposed one at data[l * stride +
/// i].
struct Bf16Matrix {
  const uint16_t* data = nullptr;
  int64_t stride = 0;
  bool transposed = false;

  const uint16_t* at(int64_t row, int64_t column) const {
    return transposed ? data + column * stride + row : data + row * stride + column;
  }
};

/// a (rows x depth) times b (depth x columns).
struct ProductTerm {
  Bf16Matrix a, b;
  int64_t depth = 0;
};

inline constexpr int64_t kPanel = 64;  ///< columns of a panel

template <typename Finish>
class BlockedProduct {
 public:
  BlockedProduct(const Bf16TileKernels& kernels, int64_t rows, int64_t columns,
                 std::span<const ProductTerm> terms, const Finish& finish)
      : kernels_(kernels),
        rows_(rows),
        columns_(columns),
        panels_((columns + kPanel - 1) / kPanel),
        finish_(finish) {
    int64_t depth = 0;
    for (const ProductTerm& term : terms) depth += paired_depth(term.depth);
    const bool one_pass = depth <= kOnePassDepth;
    for (const ProductTerm& term : terms) {
      const int64_t block_depth = one_pass ? term.depth : kBlockDepth;
      for (int64_t first = 0; first < term.depth; first += block_depth) {
        if (passes_.empty() || !one_pass) passes_.emplace_back();
        passes_.back().add({&term, first, std::min(block_depth, term.depth - first), 0});
      }
    }
  }

  void run() const {
    if (rows_ == 0 || columns_ == 0) return;
    if (passes_.size() == 1 && passes_[0].depth * columns_ > kMostShared) {
      run_with_own_panels(passes_[0]);
    } else {
      run_with_shared_panels();
    }
  }

 private:
  static constexpr int64_t kChunkRows = 64;  // rows whose sums stay in the first-level cache
  static constexpr int64_t kTaskRows = 128;
  static constexpr int64_t kMostRows = 1024;      // of a task that packs its own panels
  static constexpr int64_t kTaskPanels = 4;       // of such a task
  static constexpr int64_t kOnePassDepth = 2048;  // its panel: a quarter of the second-level cache
  static constexpr int64_t kBlockDepth = 1024;
  static constexpr int64_t kMostShared = int64_t{4} << 20;  // elements of b packed at once

  /// Part of a term's depth. `place`: of its first element in a row of packed depth.
  struct Block {
    const ProductTerm* term;
    int64_t first, depth, place;
  };
  /// Blocks whose sums are made together.
  struct Pass {
    std::vector<Block> blocks;
    int64_t depth = 0;  // packed

    void add(Block block) {
      block.place = depth;
      depth += paired_depth(block.depth);
      blocks.push_back(block);
    }
  };
  struct Left {
    const uint16_t* data;
    int64_t stride;
  };
  struct LeftMemory;
  struct PanelMemory;
  struct ChunkMemory;
  struct SumMemory;
  struct SharedMemory;

  /// All panels of a pass are packed first. Sums stand in memory between passes.
  void run_with_shared_panels() const {
    const int64_t sum_stride = panels_ * kPanel;
    float* sums = passes_.size() > 1 ? ThreadWorkspace<float, SumMemory>::get(rows_ * sum_stride) : nullptr;
    for (const Pass& pass : passes_) {
      uint16_t* packed = ThreadWorkspace<uint16_t, SharedMemory>::get(pass.depth * panels_ * kPanel);
      run_tasks(panels_, [&](TaskQueue& tasks) {
        for (int64_t panel; tasks.take(panel);) pack_panel(pass, panel, packed + panel * pass.depth * kPanel);
      });
      const bool is_first = &pass == &passes_.front(), is_last = &pass == &passes_.back();
      run_tasks((rows_ + kTaskRows - 1) / kTaskRows, [&](TaskQueue& tasks) {
        for (int64_t task; tasks.take(task);) {
          const int64_t row = task * kTaskRows, rows = std::min(kTaskRows, rows_ - row);
          const std::vector<Left> left = left_operands(pass, row, rows);
          for (int64_t panel = 0; panel < panels_; ++panel) {
            const uint16_t* right = packed + panel * pass.depth * kPanel;
            if (sums == nullptr) {
              make_chunks(pass, left, right, row, rows, panel);
            } else {
              float* sum = sums + row * sum_stride + panel * kPanel;
              add_products(pass, left, right, rows, panel, sum, sum_stride, !is_first);
            }
          }
          if (sums != nullptr && is_last)
            finish_(row, rows, int64_t{0}, columns_, sums + row * sum_stride, sum_stride);
        }
      });
    }
  }

  /// b is large: a task packs a few panels and takes many rows through them.
  void run_with_own_panels(const Pass& pass) const {
    const int64_t row_tasks = (rows_ + kMostRows - 1) / kMostRows;
    const int64_t column_tasks = (panels_ + kTaskPanels - 1) / kTaskPanels;
    run_tasks(row_tasks * column_tasks, [&](TaskQueue& tasks) {
      for (int64_t task; tasks.take(task);) {
        const int64_t row = task / column_tasks * kMostRows, rows = std::min(kMostRows, rows_ - row);
        const int64_t first = task % column_tasks * kTaskPanels;
        const std::vector<Left> left = left_operands(pass, row, rows);
        for (int64_t panel = first; panel < std::min(first + kTaskPanels, panels_); ++panel) {
          uint16_t* right = ThreadWorkspace<uint16_t, PanelMemory>::get(pass.depth * kPanel);
          pack_panel(pass, panel, right);
          make_chunks(pass, left, right, row, rows, panel);
        }
      }
    });
  }

  /// Finished sums of one panel, a chunk of rows after another.
  void make_chunks(const Pass& pass, const std::vector<Left>& left, const uint16_t* right, int64_t row,
                   int64_t rows, int64_t panel) const {
    float* sum = ThreadWorkspace<float, ChunkMemory>::get(kChunkRows * kPanel);
    std::vector<Left> chunk = left;
    for (int64_t i = 0; i < rows; i += kChunkRows) {
      const int64_t count = std::min(kChunkRows, rows - i);
      add_products(pass, chunk, right, count, panel, sum, kPanel, false);
      finish_(row + i, count, panel * kPanel, width_of(panel), sum, kPanel);
      for (Left& operand : chunk) operand.data += kChunkRows * operand.stride;
    }
  }

  /// sum = or += the products of all blocks of a pass.
  void add_products(const Pass& pass, const std::vector<Left>& left, const uint16_t* right, int64_t rows,
                    int64_t panel, float* sum, int64_t sum_stride, bool add) const {
    const int64_t columns = padded_columns(width_of(panel));
    for (size_t t = 0; t < pass.blocks.size(); ++t) {
      const Block& block = pass.blocks[t];
      kernels_.product(rows, columns, block.depth, left[t].data, left[t].stride,
                       right + block.place * columns, columns, sum, sum_stride, add || t > 0, nullptr);
    }
  }

  int64_t width_of(int64_t panel) const { return std::min(kPanel, columns_ - panel * kPanel); }

  /// A task's rows of a: in place where pairs lie side by side, else packed.
  std::vector<Left> left_operands(const Pass& pass, int64_t row, int64_t rows) const {
    std::vector<Left> left;
    uint16_t* memory = ThreadWorkspace<uint16_t, LeftMemory>::get(rows * pass.depth);
    for (const Block& block : pass.blocks) {
      const Bf16Matrix& a = block.term->a;
      const uint16_t* first = a.at(row, block.first);
      const int64_t stride = paired_depth(block.depth);
      if (a.transposed) {
        kernels_.left_from_columns(block.depth, rows, first, a.stride, memory, stride);
      } else if (block.depth % 2 != 0) {
        kernels_.left_from_rows(rows, block.depth, first, a.stride, memory, stride);
      } else {
        left.push_back({first, a.stride});
        continue;
      }
      left.push_back({memory, stride});
      memory += rows * stride;
    }
    return left;
  }

  void pack_panel(const Pass& pass, int64_t panel, uint16_t* to) const {
    const int64_t width = width_of(panel), stride = padded_columns(width);
    for (const Block& block : pass.blocks) {
      const Bf16Matrix& b = block.term->b;
      const uint16_t* first = b.at(block.first, panel * kPanel);
      const auto pack = b.transposed ? kernels_.right_from_columns : kernels_.right_from_rows;
      pack(b.transposed ? width : block.depth, b.transposed ? block.depth : width, first, b.stride,
           to + block.place * stride, stride);
    }
  }

  const Bf16TileKernels& kernels_;
  int64_t rows_, columns_;
  int64_t panels_;
  const Finish& finish_;
  std::vector<Pass> passes_;
};

/// Calls `finish(row, rows, column, columns, sums, stride)` for blocks that cover c = sum of a_t b_t, each
/// when its sums are complete, from several threads. Columns begin at multiples of kPanel; sums may be
/// overwritten there, up to padded_columns(columns).
template <typename Finish>
void blocked_product(const Bf16TileKernels& kernels, int64_t rows, int64_t columns,
                     std::span<const ProductTerm> terms, const Finish& finish) {
  BlockedProduct<Finish>(kernels, rows, columns, terms, finish).run();
}

}  // namespace gca::kernels
