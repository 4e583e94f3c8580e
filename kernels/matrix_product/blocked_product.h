#pragma once
// Large products of bf16 matrices, c = sum of a_t b_t, for one or several c with the same b_t.
//
// Bound by the multiply-add units. b is packed into panels of 64 columns. a's rows are read where they lie,
// or packed by their task where a is transposed. Versions, by shape:
//   whole panels  b fits the caches: tasks of 128 rows of c take all panels one after another. Each thread
//                 packs them for itself while threads are few: a line that another core has read is some ten
//                 times as slow to write.
//   own panels    b is large: a task packs a few panels and takes up to 1024 rows through each
//   lanes         the depth is large and c is not (weight gradients): each half of the depth is summed by
//                 itself, so that two threads pack nothing twice, and the second half's sums are added at the
//                 end
// A depth above kOnePassDepth is cut into blocks, whose sums are kept in memory.
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
    int64_t depth = 0, rows = 0;
    for (const RightMatrix& matrix : right) depth += paired_depth(matrix.depth);
    for (const LeftMatrices& matrices : left) rows += matrices.rows;
    const bool one_pass = depth <= kOnePassDepth;
    has_lanes_ = !one_pass && right.size() == 1 && rows * columns <= kMostLaneSums;
    for (size_t t = 0; t < right.size(); ++t) {
      const int64_t block_depth = one_pass     ? right[t].depth
                                  : has_lanes_ ? lane_block_depth(right[t].depth)
                                               : kBlockDepth;
      for (int64_t first = 0; first < right[t].depth; first += block_depth) {
        if (passes_.empty() || !one_pass) passes_.emplace_back();
        passes_.back().add({t, first, std::min(block_depth, right[t].depth - first), 0});
      }
    }
  }

  void run() const {
    if (columns_ == 0 || passes_.empty()) return;
    if (has_lanes_) {
      run_in_lanes();
    } else if (passes_.size() == 1 && passes_[0].depth * columns_ > kMostWhole) {
      run_with_own_panels(passes_[0]);
    } else {
      run_with_whole_panels();
    }
  }

 private:
  static constexpr int64_t kChunkRows = 64;  // rows whose sums stay in the first-level cache
  static constexpr int64_t kTaskRows = 128;
  static constexpr int64_t kMostRows = 1024;      // of a task that packs its own panels
  static constexpr int64_t kTaskPanels = 4;       // of such a task
  static constexpr int64_t kOnePassDepth = 2048;  // its panel: a quarter of the second-level cache
  static constexpr int64_t kBlockDepth = 1024;
  static constexpr int64_t kMostWhole = int64_t{2} << 20;     // elements of b packed at once
  static constexpr int64_t kMostLaneSums = int64_t{1} << 20;  // elements of all c
  static constexpr int64_t kLanes = 2;                        // whatever the number of threads
  static constexpr int kFewThreads = 8;                       // pack for themselves

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
  struct WholeMemory;

  std::vector<RowTask> row_tasks(int64_t most_rows) const {
    std::vector<RowTask> tasks;
    for (size_t c = 0; c < left_.size(); ++c) {
      for (int64_t row = 0; row < left_[c].rows; row += most_rows)
        tasks.push_back({c, row, std::min(most_rows, left_[c].rows - row)});
    }
    return tasks;
  }

  /// Blocks of one depth, the same number in each lane.
  static int64_t lane_block_depth(int64_t depth) {
    constexpr int64_t kStep = 64;
    const int64_t blocks = kLanes * ((depth + kLanes * kBlockDepth - 1) / (kLanes * kBlockDepth));
    return ((depth + blocks - 1) / blocks + kStep - 1) / kStep * kStep;
  }

  /// Sums are kept in memory between passes: in the target's own where it keeps floats, else in memory of this
  /// call.
  void run_with_whole_panels() const {
    const std::vector<RowTask> tasks = row_tasks(kTaskRows);
    const auto task_count = static_cast<int64_t>(tasks.size());
    const bool many_passes = passes_.size() > 1;
    const bool shared = at::get_num_threads() > kFewThreads;
    const int64_t own_stride = panels_ * kPanel;
    float* own_sums =
        many_passes ? ThreadWorkspace<float, SumMemory>::get(task_count * kTaskRows * own_stride) : nullptr;
    for (const Pass& pass : passes_) {
      uint16_t* packed_by_all = shared ? whole_memory(pass) : nullptr;
      if (shared) {
        run_tasks(panels_, [&](TaskQueue& queue) {
          for (int64_t panel; queue.take(panel);)
            pack_panel(pass, panel, packed_by_all + panel * pass.depth * kPanel);
        });
      }
      run_tasks(task_count, [&](TaskQueue& queue) {
        const ProductScope products(kernels_);
        const uint16_t* packed = packed_by_all;
        for (int64_t number; queue.take(number);) {
          if (packed == nullptr) packed = pack_all(pass);
          const RowTask& task = tasks[static_cast<size_t>(number)];
          if (many_passes) {
            ProductTarget target;
            const bool in_place = takes_sums(task, target);
            if (!in_place)
              target = {.sums = own_sums + number * kTaskRows * own_stride, .stride = own_stride};
            if (&pass != &passes_.front()) target.add = true;
            add_pass(pass, task, packed, target);
            if (!in_place && &pass == &passes_.back())
              sink_.finish(task.c, task.row, task.rows, 0, columns_, target.sums, target.stride);
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

  /// Each lane's sums over its half of the passes, then their sum. The first lane's stand in the target where
  /// it keeps floats.
  void run_in_lanes() const {
    const std::vector<RowTask> tasks = row_tasks(kTaskRows);
    const auto task_count = static_cast<int64_t>(tasks.size());
    const int64_t stride = panels_ * kPanel;
    float* sums = ThreadWorkspace<float, SumMemory>::get(kLanes * task_count * kTaskRows * stride);
    const auto target_of = [&](int64_t lane, int64_t number, ProductTarget& target) {
      if (lane == 0 && takes_sums(tasks[static_cast<size_t>(number)], target)) return true;
      target = {.sums = sums + (lane * task_count + number) * kTaskRows * stride, .stride = stride};
      return false;
    };

    // A thread's rows and lane are the same in every call: what it wrote is in its own cache.
    const int64_t row_groups = std::clamp<int64_t>(at::get_num_threads() / kLanes, 1, task_count);
    const auto lane_passes = static_cast<int64_t>((passes_.size() + kLanes - 1) / kLanes);
    at::parallel_for(0, kLanes * row_groups, 1, [&](int64_t first_job, int64_t end_job) {
      const ProductScope products(kernels_);
      for (int64_t job = first_job; job < end_job; ++job) {
        const int64_t lane = job / row_groups, group = job % row_groups;
        const auto first_pass = lane * lane_passes;
        const auto end_pass = std::min(first_pass + lane_passes, static_cast<int64_t>(passes_.size()));
        for (int64_t number = first_pass; number < end_pass; ++number) {
          const Pass& pass = passes_[static_cast<size_t>(number)];
          const uint16_t* packed = pack_all(pass);
          for (int64_t i = group * task_count / row_groups; i < (group + 1) * task_count / row_groups; ++i) {
            ProductTarget target;
            target_of(lane, i, target);
            if (number > first_pass) target.add = true;
            add_pass(pass, tasks[static_cast<size_t>(i)], packed, target);
          }
        }
      }
    });

    at::parallel_for(0, task_count, 1, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const RowTask& task = tasks[static_cast<size_t>(i)];
        ProductTarget total, second;
        const bool in_place = target_of(0, i, total);
        target_of(1, i, second);
        tile_kernels().add_rows(task.rows, columns_, second.sums, stride, total.sums, total.stride);
        if (!in_place) sink_.finish(task.c, task.row, task.rows, 0, columns_, total.sums, total.stride);
      }
    });
  }

  /// Whether a task's sums may stand where they are wanted: in `target`.
  bool takes_sums(const RowTask& task, ProductTarget& target) const {
    return sink_.takes(task.c, task.row, 0, columns_, target) && target.rounded == nullptr;
  }

  /// A task's part of one pass of several.
  void add_pass(const Pass& pass, const RowTask& task, const uint16_t* packed,
                const ProductTarget& target) const {
    std::vector<ProductSegment> segments = left_operands(pass, task);
    for (int64_t panel = 0; panel < panels_; ++panel) {
      point_to_panel(pass, packed + panel * pass.depth * kPanel, panel, segments);
      ProductTarget of_panel = target;
      of_panel.sums += panel * kPanel;
      kernels_.product(task.rows, padded_columns(width_of(panel)), segments, of_panel);
    }
  }

  /// b is large: a task packs a few panels and takes many rows through them.
  void run_with_own_panels(const Pass& pass) const {
    const std::vector<RowTask> tasks = row_tasks(kMostRows);
    const int64_t column_tasks = (panels_ + kTaskPanels - 1) / kTaskPanels;
    run_tasks(static_cast<int64_t>(tasks.size()) * column_tasks, [&](TaskQueue& queue) {
      const ProductScope products(kernels_);
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

  uint16_t* whole_memory(const Pass& pass) const {
    return ThreadWorkspace<uint16_t, WholeMemory>::get(pass.depth * panels_ * kPanel);
  }

  const uint16_t* pack_all(const Pass& pass) const {
    uint16_t* packed = whole_memory(pass);
    for (int64_t panel = 0; panel < panels_; ++panel)
      pack_panel(pass, panel, packed + panel * pass.depth * kPanel);
    return packed;
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
  bool has_lanes_ = false;
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
