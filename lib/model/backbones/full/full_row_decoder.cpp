#include "lib/model/backbones/full/full_row_decoder.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/common/named_work.h"
#include "kernels/common/thread_workspace.h"
#include "lib/model/rows/row_ops.h"

namespace gca::model {
namespace {

using kernels::MemoryAhead;
using kernels::TeamMember;

/// What a thread keeps to itself.
template <typename T>
struct OwnRows {
  float* h;        // (d) the residual
  T* x;            // (d) normalised
  float* product;  // rows of weights times x
  T *gate, *up;    // (d_ff)
};

template <typename T>
class FullRowDecoder {
 public:
  FullRowDecoder(const std::vector<FullLayer>& layers, const Norm& final_norm, const ModelConfig& config,
                 KvCache& cache)
      : layers_(layers),
        final_norm_(final_norm),
        cache_(cache),
        d_(config.d_model),
        ff_(config.ff_size()),
        heads_(config.n_heads),
        kv_heads_(config.n_kv_heads),
        head_dim_(config.head_dim()) {}

  at::Tensor run(const at::Tensor& embedding) {
    at::Tensor memory = at::empty({shared_bytes()}, at::kByte);
    auto* bytes = static_cast<char*>(memory.mutable_data_ptr());
    h_ = cut<float>(bytes, d_);
    next_h_ = cut<float>(bytes, d_);
    update_ = cut<T>(bytes, d_);
    gated_ = cut<T>(bytes, ff_);
    std::copy_n(embedding.const_data_ptr<float>(), d_, h_);
    const auto type = at::TensorOptions(c10::CppTypeToScalarType<T>::value);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const at::Tensor q = at::empty({1, 1, heads_, head_dim_}, type);
      const at::Tensor k = at::empty({1, 1, kv_heads_, head_dim_}, type);
      const at::Tensor v = at::empty({1, 1, kv_heads_, head_dim_}, type);
      const Heads heads = {q.mutable_data_ptr<T>(), k.mutable_data_ptr<T>(), v.mutable_data_ptr<T>()};
      kernels::run_team([&](const TeamMember& member) {
        OwnRows<T> own = own_rows();
        const T* update = nullptr;
        if (i == 0)
          std::copy_n(h_, d_, own.h);
        else
          update = finish_layer(layers_[i - 1], own, member, heads_ahead(layers_[i].attn, member));
        ops_.normalise(layers_[i].attn_norm, d_, own.h, update, own.h, own.x);
        if (member.number == 0) std::copy_n(own.h, d_, next_h_);
        project_heads(layers_[i].attn, heads, own, member);
      });
      std::swap(h_, next_h_);
      read_ = cache_.attend(i, q, k, v).contiguous();
      attended_ = read_.const_data_ptr<T>();
    }
    at::Tensor hidden = at::empty({1, 1, d_}, type);
    T* to = hidden.mutable_data_ptr<T>();
    kernels::run_team([&](const TeamMember& member) {
      OwnRows<T> own = own_rows();
      const T* update = finish_layer(layers_.back(), own, member, {});
      if (member.number == 0) ops_.normalise(final_norm_, d_, own.h, update, own.h, to);
    });
    return hidden;
  }

 private:
  struct OwnMemory;
  using Heads = std::array<T*, 3>;  // q, k, v

  int64_t shared_bytes() const {
    return 2 * d_ * static_cast<int64_t>(sizeof(float)) + (d_ + ff_) * static_cast<int64_t>(sizeof(T)) +
           4 * 64;
  }

  OwnRows<T> own_rows() const {
    const int64_t product = std::max({ff_, d_, (heads_ + 2 * kv_heads_) * head_dim_});
    const int64_t size = (2 * d_ + product + 2 * ff_) * static_cast<int64_t>(sizeof(float)) + 5 * 64;
    char* memory = kernels::ThreadWorkspace<char, OwnMemory>::get(size);
    return {cut<float>(memory, d_), cut<T>(memory, d_), cut<float>(memory, product), cut<T>(memory, ff_),
            cut<T>(memory, ff_)};
  }

  /// From what the layer's attention read to its MLP: own.h becomes a, and what is to be added to it is returned.
  /// The member reads `ahead` next.
  const T* finish_layer(const FullLayer& layer, OwnRows<T>& own, const TeamMember& member,
                        MemoryAhead ahead) const {
    ops_.multiply_share(layer.attn.wo, attended_, own.product, update_, member,
                        ops_.share_ahead(layer.mlp.w_gate, member));
    ops_.normalise(layer.mlp_norm, d_, h_, update_, own.h, own.x);
    ops_.run_mlp(layer.mlp, own.x, gated_, update_, own.product, own.gate, own.up, member, ahead);
    return update_;
  }

  /// A member's share of the rows of W_q, W_k and W_v, taken one after the other: work(i, matrix, first, last) for each
  /// of the three that it has rows of.
  template <typename Work>
  void for_share_of_heads(const AttentionWeights& weights, const TeamMember& member, const Work& work) const {
    const std::array<const Weight*, 3> matrices = {&weights.wq, &weights.wk, &weights.wv};
    const auto [begin, end] = member.share((heads_ + 2 * kv_heads_) * head_dim_, kRowUnit);
    int64_t before = 0;
    for (size_t i = 0; i < matrices.size(); ++i) {
      const int64_t rows = matrices[i]->master.size(0);
      const int64_t first = std::max(begin - before, int64_t{0}), last = std::min(end - before, rows);
      if (first < last) work(i, *matrices[i], first, last);
      before += rows;
    }
  }

  MemoryAhead heads_ahead(const AttentionWeights& weights, const TeamMember& member) const {
    MemoryAhead ahead;
    for_share_of_heads(weights, member, [&](size_t, const Weight& matrix, int64_t first, int64_t last) {
      if (ahead.empty()) ahead = ops_.rows_ahead(matrix, first, last - first);
    });
    return ahead;
  }

  void project_heads(const AttentionWeights& weights, const Heads& heads, OwnRows<T>& own,
                     const TeamMember& member) const {
    for_share_of_heads(weights, member, [&](size_t i, const Weight& matrix, int64_t first, int64_t last) {
      ops_.multiply(matrix, first, last - first, own.x, own.product, heads[i] + first);
    });
  }

  const std::vector<FullLayer>& layers_;
  const Norm& final_norm_;
  KvCache& cache_;
  int64_t d_, ff_, heads_, kv_heads_, head_dim_;
  const RowOps<T> ops_;
  float *h_ = nullptr, *next_h_ = nullptr;  // (d) the residual before the layer's attention
  T *update_ = nullptr, *gated_ = nullptr;  // (d), (d_ff), shared by the team
  at::Tensor read_;                         // what the cache gave last
  const T* attended_ = nullptr;             // (H dh)
};

}  // namespace

bool can_decode_full_row(const std::vector<FullLayer>& layers) {
  if (layers.empty()) return false;
  const FullLayer& layer = layers.front();
  return takes_rows(layer.attn.wq) && !layer.attn_bias.wq.master.defined() &&
         !layer.mlp_bias.w_gate.master.defined();
}

at::Tensor decode_full_row(const std::vector<FullLayer>& layers, const Norm& final_norm,
                           const ModelConfig& config, KvCache& cache, const at::Tensor& embedding) {
  const kernels::NamedWork work("gca::decode_position");
  if (layers.front().attn.wq.compute_dtype == at::kFloat)
    return FullRowDecoder<float>(layers, final_norm, config, cache).run(embedding);
  return FullRowDecoder<at::BFloat16>(layers, final_norm, config, cache).run(embedding);
}

}  // namespace gca::model
