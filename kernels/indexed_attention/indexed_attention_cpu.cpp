// Indexed attention on a CPU. Bound by reading the chosen rows once: listed rows that follow each other are
// one run, a run is taken in blocks that stay in the first-level cache, and all query heads of a key/value head
// read a block while it is there. A single query's rows are cut into parts, so that threads share them; each
// part has a softmax of its own, and the parts are merged in order.

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/task_queue.h"
#include "kernels/common/tile_operand.h"
#include "kernels/indexed_attention/indexed_attention_versions.h"

namespace gca::kernels {
namespace {

constexpr int64_t kBlockRows = 64;  // 16 KiB of float32 keys of 64 elements
constexpr int64_t kPartRows = 512;  // of a single query

/// Rows that lie side by side, and the column of the first among all that its head reads.
struct Run {
  int64_t row, count, column;
};

/// Runs of one key/value head, and the greatest number of rows in them.
struct Part {
  int64_t kv_head;
  std::vector<Run> runs;
  int64_t rows = 0;
};

/// Appends `run` to the parts of its head, none longer than `most` rows.
void append(Run run, int64_t kv_head, int64_t most, std::vector<Part>& parts) {
  while (run.count > 0) {
    if (parts.empty() || parts.back().kv_head != kv_head || parts.back().rows == most)
      parts.push_back({kv_head, {}, 0});
    Part& part = parts.back();
    const int64_t count = std::min(run.count, most - part.rows);
    part.runs.push_back({run.row, count, run.column});
    part.rows += count;
    run = {run.row + count, run.count - count, run.column + count};
  }
}

std::vector<Part> parts_of(const IndexedRows& rows, int64_t row_count, int64_t kv_heads, int64_t most) {
  std::vector<Part> parts;
  const int64_t listed = rows.list.defined() ? rows.list.size(1) : 0;
  for (int64_t head = 0; head < kv_heads; ++head) {
    const int32_t* list = listed > 0 ? rows.list.const_data_ptr<int32_t>() + head * listed : nullptr;
    for (int64_t j = 0; j < listed && list[j] >= 0;) {
      int64_t end = j + 1;
      while (end < listed && list[end] == list[end - 1] + 1) ++end;
      append({list[j], end - j, j}, head, most, parts);
      j = end;
    }
    append({rows.tail_begin, row_count - rows.tail_begin, listed}, head, most, parts);
  }
  return parts;
}

template <typename T>
class Indexed {
 public:
  Indexed(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values, const IndexedRows& rows,
          const at::Tensor& slopes, double scale, IndexedAttention& result)
      : q_(q),
        keys_(keys),
        values_(values),
        out_(result.out),
        lse_(result.lse.mutable_data_ptr<float>()),
        slopes_(slopes.const_data_ptr<float>()),
        sums_(result.column_sums.defined() ? result.column_sums.mutable_data_ptr<float>() : nullptr),
        columns_(result.column_sums.defined() ? result.column_sums.size(1) : 0),
        queries_(q.size(0)),
        heads_(q.size(1)),
        head_dim_(q.size(2)),
        kv_heads_(keys.size(1)),
        heads_per_kv_(heads_ / kv_heads_),
        past_(keys.size(0) - queries_),
        scale_(static_cast<float>(scale)),
        parts_(parts_of(rows, keys.size(0), kv_heads_, queries_ == 1 ? kPartRows : keys.size(0))) {}

  void run() {
    const auto parts = static_cast<int64_t>(parts_.size());
    int64_t longest = 0;
    for (const Part& part : parts_) longest = std::max(longest, part.rows);
    partial_ = TileBuffer<float>(queries_ * parts * heads_per_kv_ * partial_size());
    // Sums over the queries are one thread's, in their order.
    const int64_t queries_of_task = sums_ != nullptr ? queries_ : 1;
    const int64_t tasks_of_part = queries_ / queries_of_task;
    run_tasks(parts * tasks_of_part, [&](TaskQueue& queue) {
      const TileBuffer<float> query(heads_per_kv_ * head_dim_), score(heads_per_kv_ * longest);
      for (int64_t task; queue.take(task);) {
        const int64_t number = task / tasks_of_part;
        const int64_t first = task % tasks_of_part * queries_of_task;
        for (int64_t i = first; i < first + queries_of_task; ++i)
          read_part(number, i, query.data(), score.data());
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

  /// Calls body(row, count, place) for blocks of the rows of a part that query i sees; `place` counts them.
  template <typename Body>
  void for_each_block(const Part& part, int64_t i, Body body) const {
    int64_t place = 0;
    for (const Run& run : part.runs) {
      const int64_t seen = std::min(run.count, past_ + i + 1 - run.row);
      for (int64_t done = 0; done < seen; done += kBlockRows) {
        const int64_t count = std::min(kBlockRows, seen - done);
        body(run.row + done, count, place);
        place += count;
      }
    }
  }

  void read_part(int64_t number, int64_t i, float* query, float* score) const {
    const Part& part = parts_[static_cast<size_t>(number)];
    const int64_t first_head = part.kv_head * heads_per_kv_;
    for (int64_t g = 0; g < heads_per_kv_; ++g)
      load_tile(floats_, 1, head_dim_, q_(i, first_head + g), 0, query + g * head_dim_, head_dim_);
    int64_t seen = 0;
    for_each_block(part, i, [&](int64_t row, int64_t count, int64_t place) {
      for (int64_t g = 0; g < heads_per_kv_; ++g) {
        float* to = score + g * part.rows + place;
        dot_rows(floats_, count, head_dim_, query + g * head_dim_, keys_(row, part.kv_head), keys_.stride(0),
                 to);
        const float slope = slopes_[first_head + g];
        for (int64_t j = 0; j < count; ++j)
          to[j] = to[j] * scale_ - slope * static_cast<float>(past_ + i - row - j);
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
    for_each_block(part, i, [&](int64_t row, int64_t count, int64_t place) {
      for (int64_t g = 0; g < heads_per_kv_; ++g)
        add_weighted_rows(floats_, count, head_dim_, score + g * part.rows + place,
                          values_(row, part.kv_head), values_.stride(0),
                          partial(i, static_cast<size_t>(number), g) + 2);
    });
    if (sums_ != nullptr) add_sums(part, number, i, score);
  }

  /// Exponentials of a single query, which merge() divides; probabilities of each of several.
  void add_sums(const Part& part, int64_t number, int64_t i, const float* score) const {
    for (int64_t g = 0; g < heads_per_kv_; ++g) {
      float* sums = sums_ + (part.kv_head * heads_per_kv_ + g) * columns_;
      const float factor = queries_ == 1 ? 1.0F : 1.0F / partial(i, static_cast<size_t>(number), g)[1];
      const float* from = score + g * part.rows;
      for (const Run& run : part.runs) {
        const int64_t seen = std::min(run.count, past_ + i + 1 - run.row);
        for (int64_t j = 0; j < seen; ++j) sums[run.column + j] += *from++ * factor;
      }
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
      for (const Run& run : parts_[part].runs)
        scale_floats(partial(i, part, g)[0] / denominator, run.count, sums_ + head * columns_ + run.column);
  }

  const TileKernels& floats_ = tile_kernels();
  RowView<const T, 2> q_, keys_, values_;
  RowView<T, 2> out_;
  float* lse_;
  const float* slopes_;
  float* sums_;
  int64_t columns_, queries_, heads_, head_dim_, kv_heads_, heads_per_kv_, past_;
  float scale_;
  std::vector<Part> parts_;
  TileBuffer<float> partial_;
};

}  // namespace

IndexedAttention indexed_attention_cpu(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                                       const IndexedRows& rows, const at::Tensor& slopes, double scale,
                                       bool with_column_sums) {
  IndexedAttention result;
  result.out = at::empty(q.sizes(), q.options());
  result.lse = at::empty({q.size(0), q.size(1)}, slopes.options());
  const int64_t listed = rows.list.defined() ? rows.list.size(1) : 0;
  if (with_column_sums)
    result.column_sums = at::zeros({q.size(1), listed + keys.size(0) - rows.tail_begin}, slopes.options());
  if (q.scalar_type() == at::kFloat)
    Indexed<float>(q, keys, values, rows, slopes, scale, result).run();
  else
    Indexed<at::BFloat16>(q, keys, values, rows, slopes, scale, result).run();
  return result;
}

}  // namespace gca::kernels
