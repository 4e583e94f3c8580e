#pragma once
// Recycled Attention (RefreshKV, Xu et al., arXiv 2411.05787). Everything is kept; most tokens of an answer read
// a short list of rows, one for each layer and key/value head, least wanted first. A full step reads all and
// writes the list anew: the K rows of the largest probabilities, after a maximum over query heads and over
// neighbours. A partial step reads the list and the token itself, which then joins the list's end.

#include <vector>

#include "lib/model/kv_cache/full_cache.h"
#include "lib/model/kv_cache/kv_policy.h"

namespace gca::model {

class RecycledCache final : public FullCache {
 public:
  RecycledCache(AttentionSettings settings, const KvPolicy& policy);

  at::Tensor attend(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  void begin_part(TextPart part) override;
  std::unique_ptr<KvCache> clone() const override;
  int64_t size_bytes() const override;
  void visit(const Visitor& visitor) override;

  /// (H_kv, at most K) int32, least wanted first; undefined before the first answer.
  const at::Tensor& list(size_t layer) const { return layers_[layer].list; }
  /// Whether the last token of an answer read all.
  bool was_full(size_t layer) const { return layers_[layer].was_full; }
  /// Tokens of this answer, and those of them that read all, summed over layers.
  int64_t steps() const { return layers_.front().steps; }
  int64_t full_steps() const;
  int64_t full_steps(size_t layer) const { return layers_[layer].full_steps; }
  size_t layer_count() const { return layers_.size(); }

 private:
  struct Layer {
    at::Tensor list;
    at::Tensor last_query;  // (1, 1, H, dh) of the last token, rotated
    at::Tensor mean_query;  // (dh) float32: its mean over the heads, not rotated
    at::Tensor full_query;  // mean_query of the last full step
    int64_t steps = 0, full_steps = 0;
    bool was_full = true;
  };

  void refill(size_t layer, const at::Tensor& probabilities);
  bool reads_all(const Layer& layer) const;

  int64_t most_rows_, stride_, pool_;
  double similarity_;
  bool answering_ = false;
  std::vector<Layer> layers_;
};

}  // namespace gca::model
