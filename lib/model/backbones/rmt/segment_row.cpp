#include "lib/model/backbones/rmt/segment_row.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/one_query_attention.h"
#include "kernels/common/thread_workspace.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/rows/alibi_rows.h"

namespace gca::model {
namespace {

template <typename T>
class SegmentRow final : public RowAttention {
 public:
  SegmentRow(OpenSegment& segment, const at::Tensor& slopes, const ModelConfig& config)
      : segment_(segment),
        slopes_(slopes),
        window_size_(config.window_size),
        d_(config.d_model),
        head_dim_(config.head_dim()),
        scale_(static_cast<float>(score_scale(config))) {}

  bool takes_rows() const override {
    return segment_.memory_keys.defined() && segment_.text_keys.takes_rows();
  }

  OpenRow append_row() override {
    keys_ = segment_.text_keys.append_row();
    values_ = segment_.text_values.append_row();
    return {keys_.newest<T>(d_), values_.newest<T>(d_)};
  }

  /// One softmax over the window and the memory: both are read, then weighed by their denominators.
  void read(int64_t head, const float* query, float* out) override {
    const float window_lse = read_window(head, query, out);
    if (segment_.memory_keys.size(1) == 0) return;
    float* read = kernels::ThreadWorkspace<float, Read>::get(head_dim_);
    std::fill_n(read, head_dim_, 0.0F);
    const float memory_lse = read_memory(head, query, read);
    const float largest = std::max(window_lse, memory_lse);
    const float window_share = std::exp(window_lse - largest);
    const float memory_share = std::exp(memory_lse - largest);
    const float both = window_share + memory_share;
    for (int64_t e = 0; e < head_dim_; ++e)
      out[e] = out[e] * (window_share / both) + read[e] * (memory_share / both);
  }

 private:
  struct Scores;
  struct Read;

  float read_window(int64_t head, const float* query, float* out) const {
    const int64_t place = head * head_dim_;
    return read_with_alibi(head_dim_, query,
                           NewestRows<T>{keys_.newest<T>(d_) + place, values_.newest<T>(d_) + place, d_,
                                         std::min(keys_.count, window_size_ + 1)},
                           scale_, slopes_.const_data_ptr<float>()[head], out);
  }

  float read_memory(int64_t head, const float* query, float* out) const {
    const at::Tensor& k = segment_.memory_keys;
    const at::Tensor& v = segment_.memory_values;
    return kernels::read_with_one_query(
        kernels::tile_kernels(), head_dim_, query,
        kernels::HeadRows<T>{k.const_data_ptr<T>() + head * k.stride(2),
                             v.const_data_ptr<T>() + head * v.stride(2), k.stride(1), v.stride(1), k.size(1)},
        kernels::OneQueryScores{.scale = scale_}, kernels::ThreadWorkspace<float, Scores>::get(k.size(1)),
        out);
  }

  OpenSegment& segment_;
  const at::Tensor& slopes_;
  int64_t window_size_, d_, head_dim_;
  float scale_;
  RowHistory::OpenRow keys_{}, values_{};
};

}  // namespace

std::unique_ptr<RowAttention> segment_row(OpenSegment& segment, const at::Tensor& slopes,
                                          const ModelConfig& config, at::ScalarType compute_dtype) {
  return make_row_attention<SegmentRow>(compute_dtype, segment, slopes, config);
}

}  // namespace gca::model
