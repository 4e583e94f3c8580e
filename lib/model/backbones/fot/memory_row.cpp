#include "lib/model/backbones/fot/memory_row.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/one_query_attention.h"
#include "kernels/common/thread_workspace.h"
#include "lib/model/layers/transformer_layer.h"

namespace gca::model {
namespace {

template <typename T>
class MemoryRow final : public RowAttention {
 public:
  MemoryRow(SearchedRows& rows, const MemoryRange& range, const ModelConfig& config)
      : rows_(rows),
        range_(range),
        d_(config.d_model),
        head_dim_(config.head_dim()),
        scale_(static_cast<float>(score_scale(config))) {}

  bool takes_rows() const override { return rows_.takes_rows(); }

  OpenRow append_row() override {
    if (range_.top_k > 0 && range_.reads_memory) rows_.index().follow(rows_.keys());
    const KvRows::OpenRow row = rows_.append_row();
    keys_ = static_cast<T*>(row.keys.first);
    values_ = static_cast<T*>(row.values.first);
    count_ = row.keys.count;
    memory_ = (count_ - 1) / range_.local_context * range_.local_context;
    return {row.keys.newest<T>(d_), row.values.newest<T>(d_)};
  }

  void read(int64_t head, const float* query, float* out) override {
    if (!range_.reads_memory)
      read_rows(head, query, memory_, 1, out);
    else if (range_.top_k == 0 || memory_ <= range_.top_k)
      read_rows(head, query, 0, 1, out);
    else
      read_best(head, query, out);
  }

 private:
  struct Scores;
  struct Found;
  struct Places;

  /// out += weight * softmax over rows `first` to the newest. Returns the logarithm of its denominator.
  float read_rows(int64_t head, const float* query, int64_t first, float weight, float* out) const {
    const int64_t place = first * d_ + head * head_dim_;
    const int64_t count = count_ - first;
    return kernels::read_with_one_query(kernels::tile_kernels(), head_dim_, query,
                                        kernels::HeadRows<T>{keys_ + place, values_ + place, d_, d_, count},
                                        kernels::OneQueryScores{.scale = scale_, .weight = weight},
                                        kernels::ThreadWorkspace<float, Scores>::get(count), out);
  }

  /// One softmax over the local context and the best keys before it.
  void read_best(int64_t head, const float* query, float* out) const {
    const int64_t K = range_.top_k;
    const int64_t place = head * head_dim_;
    int32_t* best = kernels::ThreadWorkspace<int32_t, Places>::get(K);
    float* score = kernels::ThreadWorkspace<float, Found>::get(K);
    const kernels::LandmarkRows memory{
        .first = keys_ + place, .type = c10::CppTypeToScalarType<T>::value, .count = memory_, .step = d_};
    rows_.index().search_row(memory, head, query, head_dim_, K, scale_, best, score);

    const float found_lse = log_sum_exp(score, K);
    const float own_lse = read_rows(head, query, memory_, 1, out);
    const float largest = std::max(own_lse, found_lse);
    const float lse = largest + std::log(std::exp(own_lse - largest) + std::exp(found_lse - largest));
    kernels::scale_floats(std::exp(own_lse - lse), head_dim_, out);
    for (int64_t i = 0; i < K && best[i] >= 0; ++i) {
      const float weight = std::exp(score[i] - lse);
      kernels::add_weighted_rows(kernels::tile_kernels(), 1, head_dim_, &weight,
                                 values_ + best[i] * d_ + place, d_, out);
    }
  }

  /// Of scores whose first is the largest.
  static float log_sum_exp(const float* score, int64_t count) {
    float sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += std::exp(score[i] - score[0]);
    return score[0] + std::log(sum);
  }

  SearchedRows& rows_;
  MemoryRange range_;
  int64_t d_, head_dim_;
  float scale_;
  T *keys_ = nullptr, *values_ = nullptr;  // (count, H, dh), this position's at the end
  int64_t count_ = 0;
  int64_t memory_ = 0;  // rows before the local context
};

}  // namespace

std::unique_ptr<RowAttention> memory_row(SearchedRows& rows, const MemoryRange& range,
                                         const ModelConfig& config, at::ScalarType compute_dtype) {
  return make_row_attention<MemoryRow>(compute_dtype, rows, range, config);
}

}  // namespace gca::model
