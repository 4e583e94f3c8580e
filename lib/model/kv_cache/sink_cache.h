#pragma once
// The first m tokens and the last W (StreamingLLM, Xiao et al., arXiv 2309.17453); with m = 0 a sliding window.
// Places count within these, so that none exceeds m + W - 1. As rotation only sees differences of places, all
// keys are rotated once, at their places in the text, and so is the query for the window; for sinks it is rotated
// at its place among what is kept. The two parts of its softmax are merged.

#include <vector>

#include "lib/model/kv_cache/attention_settings.h"
#include "lib/model/kv_cache/kv_cache.h"
#include "lib/model/kv_cache/kv_store.h"

namespace gca::model {

class SinkCache final : public KvCache {
 public:
  SinkCache(AttentionSettings settings, int64_t sinks, int64_t window)
      : settings_(std::move(settings)),
        sinks_(sinks),
        window_(window),
        layers_(static_cast<size_t>(settings_.layers),
                {0, KvStore(settings_.kv_dtype), KvStore(settings_.kv_dtype)}) {}

  at::Tensor attend(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  std::unique_ptr<KvCache> clone() const override;
  int64_t size_bytes() const override;
  void visit(const Visitor& visitor) override;

 private:
  struct Layer {
    int64_t seen = 0;  // positions
    KvStore first;     // at most m
    KvStore last;      // at most W - 1
  };

  AttentionSettings settings_;
  int64_t sinks_, window_;
  std::vector<Layer> layers_;
};

}  // namespace gca::model
