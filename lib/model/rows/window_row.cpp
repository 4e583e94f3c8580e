#include "lib/model/rows/window_row.h"

#include "lib/model/layers/transformer_layer.h"
#include "lib/model/rows/alibi_rows.h"

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
    const int64_t place = (count_ - 1) * d_ + head * head_dim_;
    read_with_alibi(head_dim_, query, NewestRows<T>{keys_ + place, values_ + place, d_, count_}, scale_,
                    slopes_.const_data_ptr<float>()[head], out);
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
