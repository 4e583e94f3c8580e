#pragma once
// Large products of bf16 matrices, c = sum of a_t b_t, in the float of their sums; what becomes of c is the
// caller's.
//
// Bound by the multiply-add units. c is cut into tasks (blocks of rows, of columns where rows are few); a
// task packs panels of 64 columns of b, which stay in the second-level cache while the task's rows pass, and
// reads a's rows where they lie. Packing costs 1/100 to 1/50 of a product of 512 rows, so nothing is kept
// packed between calls. A depth above kOnePassDepth is cut into blocks whose sums stand in the task's memory;
// the order of every sum depends on the depth alone, so results have the same bits with any number of
// threads.

#include <ATen/Parallel.h>

#include <algorithm>
#include <span>
#include <vector>

#include "kernels/common/bf16_tile_kernels.h"
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
      : kernels_(kernels), rows_(rows), columns_(columns), finish_(finish) {
    int64_t depth = 0;
    for (const ProductTerm& term : terms) depth += paired_depth(term.depth);
    one_pass_ = depth <= kOnePassDepth;
    for (const ProductTerm& term : terms) {
      for (int64_t first = 0; first < term.depth; first += block_depth()) {
        const int64_t count = std::min(block_depth(), term.depth - first);
        blocks_.push_back({&term, first, count, one_pass_ ? packed_depth_ : 0});
        packed_depth_ =
            one_pass_ ? packed_depth_ + paired_depth(count) : std::max(packed_depth_, paired_depth(count));
      }
    }
  }

  void run() const {
    if (rows_ == 0 || columns_ == 0) return;
    const int64_t threads = at::get_num_threads();
    const int64_t most_rows = one_pass_ ? kMostTaskRows : kMostRowsByDepth;
    // Few rows share their panels best when threads share the columns.
    const bool by_columns = rows_ <= most_rows && columns_ >= 2 * threads * kPanel;
    const int64_t row_share = by_columns ? rows_ : (rows_ + threads - 1) / threads;
    const int64_t tasks_of_thread = (row_share + most_rows - 1) / most_rows;
    const int64_t task_rows = round_up((row_share + tasks_of_thread - 1) / tasks_of_thread, kChunkRows);
    const int64_t row_tasks = (rows_ + task_rows - 1) / task_rows;
    const int64_t column_share = (columns_ * std::min(row_tasks, threads) + threads - 1) / threads;
    const int64_t task_columns =
        std::min(round_up(column_share, kPanel), one_pass_ ? round_up(columns_, kPanel) : kMostColumns);
    const int64_t column_tasks = (columns_ + task_columns - 1) / task_columns;
    at::parallel_for(0, row_tasks * column_tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t row = task / column_tasks * task_rows, column = task % column_tasks * task_columns;
        const Area area{row, std::min(task_rows, rows_ - row), column,
                        std::min(task_columns, columns_ - column)};
        one_pass_ ? run_in_one_pass(area) : run_by_depth(area);
      }
    });
  }

 private:
  static constexpr int64_t kChunkRows = 64;       // rows whose sums stay in the first-level cache
  static constexpr int64_t kMostTaskRows = 1024;  // rows that share a packed panel
  static constexpr int64_t kMostRowsByDepth =
      512;  // of a block of the depth: they stay in the second-level cache
  static constexpr int64_t kMostColumns = 2048;   // of a task whose sums stand in memory
  static constexpr int64_t kOnePassDepth = 2048;  // a panel of it takes a quarter of the second-level cache
  static constexpr int64_t kBlockDepth = 1024;

  struct Area {
    int64_t row, rows, column, columns;
  };
  /// Part of a term's depth. `place`: of its first pair in a packed panel.
  struct Block {
    const ProductTerm* term;
    int64_t first, depth, place;
  };
  struct Left {
    const uint16_t* data;
    int64_t stride;
  };
  struct LeftMemory;
  struct PanelMemory;
  struct SumMemory;

  static int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

  int64_t block_depth() const { return one_pass_ ? kOnePassDepth : kBlockDepth; }

  /// All of the depth for one panel after another.
  void run_in_one_pass(const Area& area) const {
    std::vector<Left> left(blocks_.size());
    uint16_t* memory = ThreadWorkspace<uint16_t, LeftMemory>::get(area.rows * packed_depth_);
    for (size_t t = 0; t < blocks_.size(); ++t) {
      left[t] = left_operand(blocks_[t], area, memory);
      memory += area.rows * paired_depth(blocks_[t].depth);
    }
    uint16_t* panel = ThreadWorkspace<uint16_t, PanelMemory>::get(packed_depth_ * kPanel);
    float* sum = ThreadWorkspace<float, SumMemory>::get(kChunkRows * kPanel);
    for (int64_t e = 0; e < area.columns; e += kPanel) {
      const int64_t width = std::min(kPanel, area.columns - e), stride = padded_columns(width);
      for (const Block& block : blocks_)
        pack_panel(block, area.column + e, width, panel + block.place * stride);
      for (int64_t i = 0; i < area.rows; i += kChunkRows) {
        const int64_t count = std::min(kChunkRows, area.rows - i);
        for (size_t t = 0; t < blocks_.size(); ++t) {
          kernels_.product(count, stride, blocks_[t].depth, left[t].data + i * left[t].stride, left[t].stride,
                           panel + blocks_[t].place * stride, stride, sum, stride, t > 0, nullptr);
        }
        finish_(area.row + i, count, area.column + e, width, sum, stride);
      }
    }
  }

  /// A block of the depth for all panels, then the next: sums stand in memory in between.
  void run_by_depth(const Area& area) const {
    const int64_t sum_stride = padded_columns(area.columns);
    float* sum = ThreadWorkspace<float, SumMemory>::get(area.rows * sum_stride);
    uint16_t* memory = ThreadWorkspace<uint16_t, LeftMemory>::get(area.rows * packed_depth_);
    uint16_t* panel = ThreadWorkspace<uint16_t, PanelMemory>::get(packed_depth_ * kPanel);
    bool add = false;
    for (const Block& block : blocks_) {
      const Left left = left_operand(block, area, memory);
      for (int64_t e = 0; e < area.columns; e += kPanel) {
        const int64_t width = std::min(kPanel, area.columns - e), stride = padded_columns(width);
        pack_panel(block, area.column + e, width, panel);
        kernels_.product(area.rows, stride, block.depth, left.data, left.stride, panel, stride, sum + e,
                         sum_stride, add, nullptr);
      }
      add = true;
    }
    finish_(area.row, area.rows, area.column, area.columns, sum, sum_stride);
  }

  /// The task's rows of a: in place where pairs lie side by side, else packed into `memory`.
  Left left_operand(const Block& block, const Area& area, uint16_t* memory) const {
    const Bf16Matrix& a = block.term->a;
    const uint16_t* first = a.at(area.row, block.first);
    const int64_t stride = paired_depth(block.depth);
    if (a.transposed) {
      kernels_.left_from_columns(block.depth, area.rows, first, a.stride, memory, stride);
      return {memory, stride};
    }
    if (block.depth % 2 == 0) return {first, a.stride};
    kernels_.left_from_rows(area.rows, block.depth, first, a.stride, memory, stride);
    return {memory, stride};
  }

  void pack_panel(const Block& block, int64_t column, int64_t width, uint16_t* panel) const {
    const Bf16Matrix& b = block.term->b;
    const uint16_t* first = b.at(block.first, column);
    if (b.transposed) {
      kernels_.right_from_columns(width, block.depth, first, b.stride, panel, padded_columns(width));
    } else {
      kernels_.right_from_rows(block.depth, width, first, b.stride, panel, padded_columns(width));
    }
  }

  const Bf16TileKernels& kernels_;
  int64_t rows_, columns_;
  const Finish& finish_;
  bool one_pass_ = true;
  int64_t packed_depth_ = 0;  // of a panel
  std::vector<Block> blocks_;
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
