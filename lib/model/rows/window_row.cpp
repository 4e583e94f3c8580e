#include "lib/model/rows/window_row.h"

#include "kernels/common/one_query_attention.h"
#include "kernels/common/thread_workspace.h"
#include "lib/model/layers/transformer_layer.h"

namespace gca::model {
namespace {

template <typename T>
class WindowRow final : public RowAttention {
 public:
  WindowRow(WindowCache& window, const at::Tensor& slopes, const ModelConfig& config)
      : window_(window),
        slopes_(slopes),
        window_size_(config.window_size),
        d_(config.d_model),
        head_dim_(config.head_dim()),
        scale_(static_cast<float>(score_scale(config))) {}

  bool takes_rows() const override { return window_.takes_rows(); }

  OpenRow append_row() override {
    const WindowCache::OpenRow row = window_.append_row(window_size_);
    keys_ = static_cast<T*>(row.keys);
    values_ = static_cast<T*>(row.values);
    count_ = row.count;
    return {keys_ + (count_ - 1) * d_, values_ + (count_ - 1) * d_};
  }

  void read(int64_t head, const float* query, float* out) override {
    const float slope = slopes_.const_data_ptr<float>()[head];
    const kernels::OneQueryScores scores{
        .scale = scale_, .bias = -slope * static_cast<float>(count_ - 1), .bias_step = slope};
    const int64_t place = head * head_dim_;
    kernels::read_with_one_query(kernels::tile_kernels(), head_dim_, query,
                                 kernels::HeadRows<T>{keys_ + place, values_ + place, d_, d_, count_}, scores,
                                 kernels::ThreadWorkspace<float, WindowRow>::get(count_), out);
  }

 private:
  WindowCache& window_;
  const at::Tensor& slopes_;
  int64_t window_size_, d_, head_dim_;
  float scale_;
  T *keys_ = nullptr, *values_ = nullptr;  // (count, H, dh), this position's at the end
  int64_t count_ = 0;
};

}  // namespace

std::unique_ptr<RowAttention> window_row(WindowCache& window, const at::Tensor& slopes,
                                         const ModelConfig& config, at::ScalarType compute_dtype) {
  return make_row_attention<WindowRow>(compute_dtype, window, slopes, config);
}

}  // namespace gca::model
