#include "lib/model/backbones/tensorized/hop_row.h"

#include <algorithm>
#include <vector>

#include "kernels/common/tile_operand.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/rows/alibi_rows.h"

namespace gca::model {
namespace {

template <typename T>
class HopRow final : public RowAttention {
 public:
  HopRow(HopHistory& history, const at::Tensor& slopes, const ModelConfig& config)
      : history_(history),
        slopes_(slopes),
        hops_(hops_of(config.tensor_fold)),
        d_(config.d_model),
        head_dim_(config.head_dim()),
        scale_(static_cast<float>(score_scale(config))) {}

  bool takes_rows() const override { return history_.keys.takes_rows(); }

  OpenRow append_row() override {
    keys_ = history_.keys.append_row(longest_of(hops_));
    for (size_t r = 0; r < hops_.size(); ++r) values_.push_back(history_.values[r].append_row(hops_[r].kept));
    return {keys_.newest<T>(d_), values_.front().template newest<T>(d_)};
  }

  void read(int64_t head, const float* query, float* out) override {
    const kernels::TileKernels& floats = kernels::tile_kernels();
    const int64_t place = head * head_dim_;
    const float slope = slopes_.const_data_ptr<float>()[head];
    for (size_t r = 0; r < hops_.size(); ++r) {
      const Hop& hop = hops_[r];
      const int64_t seen = (values_[r].count - 1) / hop.stride + 1;
      const int64_t steps = hop.steps > 0 ? std::min(seen, hop.steps) : seen;
      const bool is_last = r + 1 == hops_.size();
      std::fill_n(out, head_dim_, 0.0F);
      // ALiBi counts steps.
      read_with_alibi(head_dim_, query,
                      NewestRows<T>{keys_.newest<T>(d_) + place, values_[r].template newest<T>(d_) + place,
                                    hop.stride * d_, steps},
                      scale_, slope, out);
      if (!is_last)
        kernels::store_tile(floats, 1, head_dim_, out, 0, values_[r + 1].template newest<T>(d_) + place, 0);
    }
  }

 private:
  HopHistory& history_;
  const at::Tensor& slopes_;
  std::vector<Hop> hops_;
  int64_t d_, head_dim_;
  float scale_;
  RowHistory::OpenRow keys_{};
  std::vector<RowHistory::OpenRow> values_;  // one a hop
};

}  // namespace

std::unique_ptr<RowAttention> hop_row(HopHistory& history, const at::Tensor& slopes,
                                      const ModelConfig& config, at::ScalarType compute_dtype) {
  return make_row_attention<HopRow>(compute_dtype, history, slopes, config);
}

}  // namespace gca::model
