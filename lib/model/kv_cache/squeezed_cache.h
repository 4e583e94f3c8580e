#pragma once
// Squeezed Attention (Hooper et al., arXiv 2411.09688), for a prefix that many inputs follow. The keys of the
// prefix are clustered; a block of queries (the input; then each token of the answer) reads the keys of those
// clusters whose estimated attention is above a threshold, the prefix's last O tokens, and all that follows.
// Where asked for, the first tokens are read, too (not in the paper): much attention falls on them, and in a
// cluster with others they are lost.

#include <functional>
#include <vector>

#include "lib/model/kv_cache/full_cache.h"
#include "lib/model/kv_cache/key_clusters.h"
#include "lib/model/kv_cache/kv_policy.h"

namespace gca::model {

class SqueezedCache final : public FullCache {
 public:
  /// Numbers in [0, 1) that draw the first centres of a layer and a key/value head.
  using Draw = std::function<std::vector<double>(size_t layer, int64_t kv_head, int64_t count, bool coarse)>;

  /// Without a `draw` numbers come from the policy's seed.
  SqueezedCache(AttentionSettings settings, const KvPolicy& policy, Draw draw = {});

  at::Tensor attend(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  /// The prefix ends where the prompt begins; a text without a prefix is read in full.
  void begin_part(TextPart part) override;
  std::unique_ptr<KvCache> clone() const override;
  int64_t size_bytes() const override;
  void visit(const Visitor& visitor) override;

  const KeyClusters& fine(size_t layer) const { return layers_[layer].fine; }
  const KeyClusters& coarse(size_t layer) const { return layers_[layer].coarse; }
  double threshold() const { return threshold_; }
  double coarse_threshold() const { return coarse_threshold_; }
  void set_threshold(double threshold) { threshold_ = threshold; }
  /// (H_kv, P') bool: the keys of the prefix that the last block read.
  at::Tensor kept(size_t layer) const;

 private:
  struct Layer {
    at::Tensor last_queries;  // (at most O, H, dh), rotated, of the prefix
    KeyClusters fine, coarse;
    at::Tensor list;  // of the last block: (H_kv, m) int32, rising, -1 behind a shorter list
  };

  void end_prefix();
  double calibrate(KeyClusters Layer::*clusters, double quantile) const;
  at::Tensor choose(const Layer& layer, const at::Tensor& q, int64_t last_place) const;
  ClusterQueries queries_of(const at::Tensor& q, int64_t last_place) const;

  KvPolicy policy_;
  Draw draw_;
  bool in_prefix_ = false;
  int64_t clustered_ = 0;  // P'
  double threshold_ = 0, coarse_threshold_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace gca::model
