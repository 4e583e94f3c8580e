#pragma once
// Large products of bf16 matrices, c = sum of a_t b_t, for one or several c with the same b_t.
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

/// One b of a sum: (depth x columns).
struct RightMatrix {
  Bf16Matrix b;
  int64_t depth = 0;
};

/// One c of several that share their right sides: c (rows x columns) = the sum over t of a_t b_t.
struct LeftMatrices {
  int64_t rows = 0;
  std::vector<Bf16Matrix> a;  ///< (rows x depth), one a right matrix
};

inline constexpr int64_t kPanel = 64;  ///< columns of a panel

/// Hands over sums in memory of the product's own.
template <typename Finish>
class FinishedByCaller {
 public:
  explicit FinishedByCaller(const Finish& finish) : finish_(finish) {}
  static bool takes(size_t, int64_t, int64_t, int64_t, ProductTarget&) { return false; }
  void finish(size_t c, int64_t row, int64_t rows, int64_t column, int64_t columns, float* sums,
              int64_t stride) const {
    finish_(c, row, rows, column, columns, sums, stride);
  }

 private:
  const Finish& finish_;
};

/// Writes to targets, one a c; products write there themselves where their columns fill vectors.
class WrittenToTargets {
 public:
  WrittenToTargets(const Bf16TileKernels& kernels, std::span<const ProductTarget> targets)
      : kernels_(kernels), targets_(targets) {}

  /// Whether a product may write `columns` columns from (row, column) on itself: to `target`.
  bool takes(size_t c, int64_t row, int64_t column, int64_t columns, ProductTarget& target) const {
    if (columns % kTileColumns != 0) return false;
    target = place(c, row, column);
    return true;
  }
  void finish(size_t c, int64_t row, int64_t rows, int64_t column, int64_t columns, const float* sums,
              int64_t stride) const {
    const ProductTarget to = place(c, row, column);
    if (to.rounded != nullptr) {
      kernels_.round_rows(rows, columns, sums, stride, to.rounded, to.stride);
    } else {
      const auto put = to.add ? tile_kernels().add_rows : tile_kernels().copy_rows;
      put(rows, columns, sums, stride, to.sums, to.stride);
    }
  }

 private:
  ProductTarget place(size_t c, int64_t row, int64_t column) const {
    ProductTarget to = targets_[c];
    const int64_t offset = row * to.stride + column;
    if (to.rounded != nullptr) {
      to.rounded += offset;
    } else {
      to.sums += offset;
    }
    return to;
  }

  const Bf16TileKernels& kernels_;
  std::span<const ProductTarget> targets_;
};

template <typename Sink>
class BlockedProduct {
 public:
  BlockedProduct(const Bf16TileKernels& kernels, int64_t columns, std::span<const RightMatrix> right,
                 std::span<const LeftMatrices> left, const Sink& sink)
      : kernels_(kernels),
        columns_(columns),
        panels_((columns + kPanel - 1) / kPanel),
        right_(right),
        left_(left),
        sink_(sink) {
    int64_t depth = 0;
    for (const RightMatrix& matrix : right) depth += paired_depth(matrix.depth);
    const bool one_pass = depth <= kOnePassDepth;
    for (size_t t = 0; t < right.size(); ++t) {
      const int64_t block_depth = one_pass ? right[t].depth : kBlockDepth;
      for (int64_t first = 0; first < right[t].depth; first += block_depth) {
        if (passes_.empty() || !one_pass) passes_.emplace_back();
        passes_.back().add({t, first, std::min(block_depth, right[t].depth - first), 0});
      }
    }
  }

  void run() const {
    if (columns_ == 0 || passes_.empty()) return;
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

  /// Part of the depth of right matrix `term`. `place`: of its first element in a row of packed depth.
  struct Block {
    size_t term;
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
  /// Rows of one c.
  struct RowTask {
    size_t c;
    int64_t row, rows;
  };
  struct LeftMemory;
  struct PanelMemory;
  struct ChunkMemory;
  struct SumMemory;
  struct SharedMemory;

  std::vector<RowTask> row_tasks(int64_t most_rows) const {
    std::vector<RowTask> tasks;
    for (size_t c = 0; c < left_.size(); ++c) {
      for (int64_t row = 0; row < left_[c].rows; row += most_rows)
        tasks.push_back({c, row, std::min(most_rows, left_[c].rows - row)});
    }
    return tasks;
  }

  /// All panels of a pass are packed first. Sums stand in memory between passes: in the target's own where it
  /// keeps floats, else in memory of this call.
  void run_with_shared_panels() const {
    const std::vector<RowTask> tasks = row_tasks(kTaskRows);
    const auto task_count = static_cast<int64_t>(tasks.size());
    const bool many_passes = passes_.size() > 1;
    const int64_t own_stride = panels_ * kPanel;
    float* own_sums =
        many_passes ? ThreadWorkspace<float, SumMemory>::get(task_count * kTaskRows * own_stride) : nullptr;
    for (const Pass& pass : passes_) {
      uint16_t* packed = ThreadWorkspace<uint16_t, SharedMemory>::get(pass.depth * panels_ * kPanel);
      run_tasks(panels_, [&](TaskQueue& queue) {
        for (int64_t panel; queue.take(panel);) pack_panel(pass, panel, packed + panel * pass.depth * kPanel);
      });
      run_tasks(task_count, [&](TaskQueue& queue) {
        for (int64_t number; queue.take(number);) {
          const RowTask& task = tasks[static_cast<size_t>(number)];
          if (many_passes) {
            add_pass(pass, task, packed,
                     {.sums = own_sums + number * kTaskRows * own_stride, .stride = own_stride});
            continue;
          }
          std::vector<ProductSegment> segments = left_operands(pass, task);
          for (int64_t panel = 0; panel < panels_; ++panel) {
            point_to_panel(pass, packed + panel * pass.depth * kPanel, panel, segments);
            make_panel(task, panel, segments);
          }
        }
      });
    }
  }

  /// A task's part of one pass of several; `own` is where its sums stand if its target does not take them.
  void add_pass(const Pass& pass, const RowTask& task, const uint16_t* packed,
                const ProductTarget& own) const {
    ProductTarget target;
    const bool in_place = sink_.takes(task.c, task.row, 0, columns_, target) && target.rounded == nullptr;
    if (!in_place) target = own;
    if (&pass != &passes_.front()) target.add = true;
    std::vector<ProductSegment> segments = left_operands(pass, task);
    for (int64_t panel = 0; panel < panels_; ++panel) {
      point_to_panel(pass, packed + panel * pass.depth * kPanel, panel, segments);
      ProductTarget of_panel = target;
      of_panel.sums += panel * kPanel;
      kernels_.product(task.rows, padded_columns(width_of(panel)), segments, of_panel);
    }
    if (!in_place && &pass == &passes_.back())
      sink_.finish(task.c, task.row, task.rows, 0, columns_, own.sums, own.stride);
  }

  /// b is large: a task packs a few panels and takes many rows through them.
  void run_with_own_panels(const Pass& pass) const {
    const std::vector<RowTask> tasks = row_tasks(kMostRows);
    const int64_t column_tasks = (panels_ + kTaskPanels - 1) / kTaskPanels;
    run_tasks(static_cast<int64_t>(tasks.size()) * column_tasks, [&](TaskQueue& queue) {
      for (int64_t number; queue.take(number);) {
        const RowTask& task = tasks[static_cast<size_t>(number / column_tasks)];
        const int64_t first = number % column_tasks * kTaskPanels;
        std::vector<ProductSegment> segments = left_operands(pass, task);
        for (int64_t panel = first; panel < std::min(first + kTaskPanels, panels_); ++panel) {
          uint16_t* right = ThreadWorkspace<uint16_t, PanelMemory>::get(pass.depth * kPanel);
          pack_panel(pass, panel, right);
          point_to_panel(pass, right, panel, segments);
          make_panel(task, panel, segments);
        }
      }
    });
  }

  /// One panel of a task's rows, whose sums are whole after this.
  void make_panel(const RowTask& task, int64_t panel, const std::vector<ProductSegment>& segments) const {
    const int64_t width = width_of(panel), columns = padded_columns(width);
    ProductTarget target;
    if (sink_.takes(task.c, task.row, panel * kPanel, width, target)) {
      kernels_.product(task.rows, columns, segments, target);
      return;
    }
    float* sum = ThreadWorkspace<float, ChunkMemory>::get(kChunkRows * kPanel);
    std::vector<ProductSegment> of_chunk = segments;
    for (int64_t i = 0; i < task.rows; i += kChunkRows) {
      const int64_t count = std::min(kChunkRows, task.rows - i);
      kernels_.product(count, columns, of_chunk, {.sums = sum, .stride = kPanel});
      sink_.finish(task.c, task.row + i, count, panel * kPanel, width, sum, kPanel);
      for (ProductSegment& segment : of_chunk) segment.left += kChunkRows * segment.left_stride;
    }
  }

  int64_t width_of(int64_t panel) const { return std::min(kPanel, columns_ - panel * kPanel); }

  /// A task's rows of each a: in place where pairs lie side by side, else packed.
  std::vector<ProductSegment> left_operands(const Pass& pass, const RowTask& task) const {
    std::vector<ProductSegment> segments;
    uint16_t* memory = ThreadWorkspace<uint16_t, LeftMemory>::get(task.rows * pass.depth);
    for (const Block& block : pass.blocks) {
      const Bf16Matrix& a = left_[task.c].a[block.term];
      const uint16_t* first = a.at(task.row, block.first);
      const int64_t stride = paired_depth(block.depth);
      if (a.transposed) {
        kernels_.left_from_columns(block.depth, task.rows, first, a.stride, memory, stride);
      } else if (block.depth % 2 != 0) {
        kernels_.left_from_rows(task.rows, block.depth, first, a.stride, memory, stride);
      } else {
        segments.push_back({first, a.stride, nullptr, 0, block.depth});
        continue;
      }
      segments.push_back({memory, stride, nullptr, 0, block.depth});
      memory += task.rows * stride;
    }
    return segments;
  }

  void point_to_panel(const Pass& pass, const uint16_t* packed, int64_t panel,
                      std::vector<ProductSegment>& segments) const {
    const int64_t columns = padded_columns(width_of(panel));
    for (size_t i = 0; i < segments.size(); ++i) {
      segments[i].right = packed + pass.blocks[i].place * columns;
      segments[i].right_stride = columns;
    }
  }

  void pack_panel(const Pass& pass, int64_t panel, uint16_t* to) const {
    const int64_t width = width_of(panel), stride = padded_columns(width);
    for (const Block& block : pass.blocks) {
      const Bf16Matrix& b = right_[block.term].b;
      const uint16_t* first = b.at(block.first, panel * kPanel);
      const auto pack = b.transposed ? kernels_.right_from_columns : kernels_.right_from_rows;
      pack(b.transposed ? width : block.depth, b.transposed ? block.depth : width, first, b.stride,
           to + block.place * stride, stride);
    }
  }

  const Bf16TileKernels& kernels_;
  int64_t columns_;
  int64_t panels_;
  std::span<const RightMatrix> right_;
  std::span<const LeftMatrices> left_;
  const Sink& sink_;
  std::vector<Pass> passes_;
};

/// Calls `finish(c, row, rows, column, columns, sums, stride)` for blocks that cover every c, each when its
/// sums are complete, from several threads. Columns begin at multiples of kPanel; sums may be overwritten
/// there, up to padded_columns(columns).
template <typename Finish>
void blocked_product(const Bf16TileKernels& kernels, int64_t columns, std::span<const RightMatrix> right,
                     std::span<const LeftMatrices> left, const Finish& finish) {
  const FinishedByCaller<Finish> sink(finish);
  BlockedProduct(kernels, columns, right, left, sink).run();
}

/// Writes every c to its target (factors have no meaning here).
inline void blocked_product_to(const Bf16TileKernels& kernels, int64_t columns,
                               std::span<const RightMatrix> right, std::span<const LeftMatrices> left,
                               std::span<const ProductTarget> targets) {
  const WrittenToTargets sink(kernels, targets);
  BlockedProduct(kernels, columns, right, left, sink).run();
}

}  // namespace gca::kernels
