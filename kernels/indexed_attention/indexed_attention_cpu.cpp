// Indexed attention on a CPU. Bound by reading the chosen rows once: rows are taken in blocks that stay in the
// first-level cache as floats, and all query heads of a key/value head read a block while it is there. A single
// query's rows are cut into parts, so that threads share them; each part has a softmax of its own, and the parts
// are merged in order.

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/common/row_kernels.h"
#include "kernels/common/task_queue.h"
#include "kernels/common/tile_operand.h"
#include "kernels/indexed_attention/indexed_attention_versions.h"

namespace gca::kernels {
namespace {

constexpr int64_t kBlockRows = 64;  // 16 KiB of float32 keys of 64 elements
constexpr int64_t kPartRows = 512;  // of a single query

/// Rows that are read together: those of a piece of a head's list, or, where it is null, those that lie side by
/// side from `row`. `column`: of the first among all that the head reads.
struct Block {
  const int32_t* listed;
  int64_t row, count, column;
};

/// Blocks of one key/value head, and the greatest number of rows in them.
struct Part {
  int64_t kv_head;
  std::vector<Block> blocks;
  int64_t rows = 0;
};

/// Parts of no more than `most` rows.
std::vector<Part> parts_of(const IndexedRows& rows, int64_t row_count, int64_t kv_heads, int64_t most) {
  std::vector<Part> parts;
  const auto append = [&](int64_t head, const Block& block) {
    if (parts.empty() || parts.back().kv_head != head || parts.back().rows + block.count > most)
      parts.push_back({head, {}, 0});
    parts.back().blocks.push_back(block);
    parts.back().rows += block.count;
  };
  const int64_t listed = rows.list.defined() ? rows.list.size(1) : 0;
  for (int64_t head = 0; head < kv_heads; ++head) {
    const int32_t* list = listed > 0 ? rows.list.const_data_ptr<int32_t>() + head * listed : nullptr;
    const int64_t count = std::find(list, list + listed, -1) - list;
    for (int64_t j = 0; j < count; j += kBlockRows)
      append(head, {list + j, 0, std::min(kBlockRows, count - j), j});
    for (int64_t row = rows.tail_begin; row < row_count; row += kBlockRows)
      append(head, {nullptr, row, std::min(kBlockRows, row_count - row), listed + row - rows.tail_begin});
  }
  return parts;
}

/// Keys or values of a cache of element type `Row`, in blocks of floats.
template <typename Row>
class BlockReader {
 public:
  BlockReader(const TileKernels& floats, const at::Tensor& rows, const at::Tensor& scales)
      : floats_(floats), rows_(rows), columns_(rows.size(2)) {
    if (!scales.defined()) return;
    scales_ = scales.const_data_ptr<float>();
    scale_row_ = scales.stride(0);
    scale_head_ = scales.stride(1);
  }

  /// The first `count` rows of a block, `step` floats apart: where they lie, or in `copies`, which has room for
  /// a block.
  struct Rows {
    const float* first;
    int64_t step;
  };
  Rows read(const Block& block, int64_t count, int64_t kv_head, float* copies) const {
    if (block.listed == nullptr) {
      if constexpr (std::is_same_v<Row, float>) return {rows_(block.row, kv_head), rows_.stride(0)};
      widen(block.row, count, kv_head, copies);
    } else {
      for (int64_t j = 0; j < count; ++j) {
        if (j + kAhead < count) fetch(block.listed[j + kAhead], kv_head);
        widen(block.listed[j], 1, kv_head, copies + j * columns_);
      }
    }
    return {copies, columns_};
  }

 private:
  static constexpr int64_t kAhead = 8;  // listed rows that are fetched before they are read

  void fetch(int64_t row, int64_t kv_head) const {
    constexpr int64_t kLine = 64;
    const char* from = reinterpret_cast<const char*>(rows_(row, kv_head));
    for (int64_t at = 0; at < columns_ * static_cast<int64_t>(sizeof(Row)); at += kLine)
      __builtin_prefetch(from + at);
  }

  void widen(int64_t first, int64_t count, int64_t kv_head, float* to) const {
    if constexpr (std::is_same_v<Row, int8_t>) {
      const float* scales = scales_ + first * scale_row_ + kv_head * scale_head_;
      const int64_t together = rows_.stride(0) == columns_ && scale_row_ == 1 ? count : 1;
      for (int64_t j = 0; j < count; j += together)
        restore_(together, columns_, rows_(first + j, kv_head), scales + j * scale_row_, to + j * columns_);
    } else {
      load_tile(floats_, count, columns_, rows_(first, kv_head), rows_.stride(0), to, columns_);
    }
  }

  const TileKernels& floats_;
  RowView<const Row, 2> rows_;
  int64_t columns_;
  decltype(RowKernels<float>::restore_rows) restore_ = row_kernels().of_float.restore_rows;
  const float* scales_ = nullptr;  // of int8 rows
  int64_t scale_row_ = 0, scale_head_ = 0;
};

/// `Row`: the element type of keys and values, T or int8.
template <typename T, typename Row>
class Indexed {
 public:
  Indexed(const at::Tensor& q, const CachedRows& cached, const IndexedRows& rows, const at::Tensor& slopes,
          double scale, IndexedAttention& result)
      : q_(q),
        keys_(floats_, cached.keys, cached.key_scales),
        values_(floats_, cached.values, cached.value_scales),
        out_(result.out),
        lse_(result.lse.mutable_data_ptr<float>()),
        slopes_(slopes.const_data_ptr<float>()),
        sums_(result.column_sums.defined() ? result.column_sums.mutable_data_ptr<float>() : nullptr),
        columns_(result.column_sums.defined() ? result.column_sums.size(1) : 0),
        queries_(q.size(0)),
        heads_(q.size(1)),
        head_dim_(q.size(2)),
        kv_heads_(cached.keys.size(1)),
        heads_per_kv_(heads_ / kv_heads_),
        past_(cached.keys.size(0) - queries_),
        scale_(static_cast<float>(scale)),
        parts_(parts_of(rows, cached.keys.size(0), kv_heads_,
                        queries_ == 1 ? kPartRows : std::numeric_limits<int64_t>::max())) {}

  void run() {
    const auto parts = static_cast<int64_t>(parts_.size());
    int64_t longest = 0;
    for (const Part& part : parts_) longest = std::max(longest, part.rows);
    partial_ = TileBuffer<float>(queries_ * parts * heads_per_kv_ * partial_size());
    // Sums over the queries are one thread's, in their order.
    const int64_t queries_of_task = sums_ != nullptr ? queries_ : 1;
    const int64_t tasks_of_part = queries_ / queries_of_task;
    run_tasks(parts * tasks_of_part, [&](TaskQueue& queue) {
      const Scratch scratch(heads_per_kv_, head_dim_, longest);
      for (int64_t task; queue.take(task);) {
        const int64_t number = task / tasks_of_part;
        const int64_t first = task % tasks_of_part * queries_of_task;
        for (int64_t i = first; i < first + queries_of_task; ++i) read_part(number, i, scratch);
      }
    });
    for (int64_t i = 0; i < queries_; ++i)
      for (size_t begin = 0; begin < parts_.size();) {
        size_t end = begin + 1;
        while (end < parts_.size() && parts_[end].kv_head == parts_[begin].kv_head) ++end;
        for (int64_t g = 0; g < heads_per_kv_; ++g) merge(i, begin, end, g);
        begin = end;
      }
  }

 private:
  /// Largest score, denominator, and values times exponentials.
  int64_t partial_size() const { return 2 + head_dim_; }
  float* partial(int64_t i, size_t part, int64_t g) const {
    const auto number =
        (i * static_cast<int64_t>(parts_.size()) + static_cast<int64_t>(part)) * heads_per_kv_ + g;
    return partial_.data() + number * partial_size();
  }

  /// What a thread works in.
  struct Scratch {
    Scratch(int64_t heads, int64_t head_dim, int64_t rows)
        : query(heads * head_dim), score(heads * rows), copies(kBlockRows * head_dim) {}
    TileBuffer<float> query, score, copies;
  };

  /// How many rows of a block query i sees.
  int64_t seen_of(const Block& block, int64_t i) const {
    return block.listed != nullptr ? block.count
                                   : std::clamp<int64_t>(past_ + i + 1 - block.row, 0, block.count);
  }

  /// Calls body(block, count, place) for the rows of a part that query i sees; `place` counts them.
  template <typename Body>
  void for_each_block(const Part& part, int64_t i, Body body) const {
    int64_t place = 0;
    for (const Block& block : part.blocks) {
      const int64_t count = seen_of(block, i);
      if (count > 0) body(block, count, place);
      place += count;
    }
  }

  void read_part(int64_t number, int64_t i, const Scratch& scratch) const {
    const Part& part = parts_[static_cast<size_t>(number)];
    const int64_t first_head = part.kv_head * heads_per_kv_;
    float *query = scratch.query.data(), *score = scratch.score.data(), *copies = scratch.copies.data();
    for (int64_t g = 0; g < heads_per_kv_; ++g)
      load_tile(floats_, 1, head_dim_, q_(i, first_head + g), 0, query + g * head_dim_, head_dim_);
    int64_t seen = 0;
    for_each_block(part, i, [&](const Block& block, int64_t count, int64_t place) {
      const auto keys = keys_.read(block, count, part.kv_head, copies);
      for (int64_t g = 0; g < heads_per_kv_; ++g) {
        float* to = score + g * part.rows + place;
        dot_rows(floats_, count, head_dim_, query + g * head_dim_, keys.first, keys.step, to);
        add_bias(block, count, past_ + i, slopes_[first_head + g], to);
      }
      seen = place + count;
    });
    for (int64_t g = 0; g < heads_per_kv_; ++g) {
      float* result = partial(i, static_cast<size_t>(number), g);
      result[0] = -std::numeric_limits<float>::infinity();
      result[1] = 0;
      if (seen > 0)
        floats_.softmax_row(seen, score + g * part.rows, 1.0F, 0.0F, 0.0F, &result[0], &result[1]);
      std::fill_n(result + 2, head_dim_, 0.0F);
    }
    for_each_block(part, i, [&](const Block& block, int64_t count, int64_t place) {
      const auto values = values_.read(block, count, part.kv_head, copies);
      for (int64_t g = 0; g < heads_per_kv_; ++g)
        add_weighted_rows(floats_, count, head_dim_, score + g * part.rows + place, values.first, values.step,
                          partial(i, static_cast<size_t>(number), g) + 2);
    });
    if (sums_ != nullptr) add_sums(part, number, i, score);
  }

  /// From products to scores of a query that stands at `place`.
  void add_bias(const Block& block, int64_t count, int64_t place, float slope, float* score) const {
    if (block.listed == nullptr) {
      for (int64_t j = 0; j < count; ++j)
        score[j] = score[j] * scale_ - slope * static_cast<float>(place - block.row - j);
    } else {
      for (int64_t j = 0; j < count; ++j)
        score[j] = score[j] * scale_ - slope * static_cast<float>(place - block.listed[j]);
    }
  }

  /// Exponentials of a single query, which merge() divides; probabilities of each of several.
  void add_sums(const Part& part, int64_t number, int64_t i, const float* score) const {
    for (int64_t g = 0; g < heads_per_kv_; ++g) {
      float* sums = sums_ + (part.kv_head * heads_per_kv_ + g) * columns_;
      const float factor = queries_ == 1 ? 1.0F : 1.0F / partial(i, static_cast<size_t>(number), g)[1];
      for_each_block(part, i, [&](const Block& block, int64_t count, int64_t place) {
        const float* from = score + g * part.rows + place;
        for (int64_t j = 0; j < count; ++j) sums[block.column + j] += from[j] * factor;
      });
    }
  }

  /// The parts of one head, and of one query of it, in order.
  void merge(int64_t i, size_t begin, size_t end, int64_t g) {
    const int64_t head = parts_[begin].kv_head * heads_per_kv_ + g;
    float largest = -std::numeric_limits<float>::infinity();
    for (size_t part = begin; part < end; ++part) largest = std::max(largest, partial(i, part, g)[0]);
    float denominator = 0;
    float* sum = partial(i, begin, g);
    for (size_t part = begin; part < end; ++part) {
      float* one = partial(i, part, g);
      const float factor = std::exp(one[0] - largest);
      denominator += one[1] * factor;
      for (int64_t e = 0; e < head_dim_; ++e)
        sum[2 + e] = one[2 + e] * factor + (part == begin ? 0.0F : sum[2 + e]);
      one[0] = factor;
    }
    lse_[i * heads_ + head] = largest + std::log(denominator);
    scale_floats(1.0F / denominator, head_dim_, sum + 2);
    store_tile(floats_, 1, head_dim_, sum + 2, head_dim_, out_(i, head), 0);
    if (sums_ == nullptr || queries_ > 1) return;
    for (size_t part = begin; part < end; ++part)
      for (const Block& block : parts_[part].blocks)
        scale_floats(partial(i, part, g)[0] / denominator, block.count,
                     sums_ + head * columns_ + block.column);
  }

  const TileKernels& floats_ = tile_kernels();
  RowView<const T, 2> q_;
  BlockReader<Row> keys_, values_;
  RowView<T, 2> out_;
  float* lse_;
  const float* slopes_;
  float* sums_;
  int64_t columns_, queries_, heads_, head_dim_, kv_heads_, heads_per_kv_, past_;
  float scale_;
  std::vector<Part> parts_;
  TileBuffer<float> partial_;
};

template <typename T>
void run(const at::Tensor& q, const CachedRows& cached, const IndexedRows& rows, const at::Tensor& slopes,
         double scale, IndexedAttention& result) {
  if (cached.key_scales.defined())
    Indexed<T, int8_t>(q, cached, rows, slopes, scale, result).run();
  else
    Indexed<T, T>(q, cached, rows, slopes, scale, result).run();
}

}  // namespace

IndexedAttention indexed_attention_cpu(const at::Tensor& q, const CachedRows& cached, const IndexedRows& rows,
                                       const at::Tensor& slopes, double scale, bool with_column_sums) {
  IndexedAttention result;
  result.out = at::empty(q.sizes(), q.options());
  result.lse = at::empty({q.size(0), q.size(1)}, slopes.options());
  const int64_t listed = rows.list.defined() ? rows.list.size(1) : 0;
  if (with_column_sums)
    result.column_sums =
        at::zeros({q.size(1), listed + cached.keys.size(0) - rows.tail_begin}, slopes.options());
  if (q.scalar_type() == at::kFloat)
    run<float>(q, cached, rows, slopes, scale, result);
  else
    run<at::BFloat16>(q, cached, rows, slopes, scale, result);
  return result;
}

}  // namespace gca::kernels
