#include "lib/model/rows/row_decoder.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/common/named_work.h"
#include "kernels/common/one_query_attention.h"
#include "kernels/common/thread_team.h"
#include "kernels/common/thread_workspace.h"
#include "lib/model/rows/row_ops.h"
#include "lib/model/rows/window_row.h"

namespace gca::model {
namespace {

using kernels::HeadRows;
using kernels::MemoryAhead;
using kernels::OneQueryScores;
using kernels::TeamMember;

/// What the team shares: results of one step of a layer that all threads read in the next.
template <typename T>
struct SharedRows {
  T *attended, *update, *gated;  // (d), (d), (d_ff)
};

/// What a thread keeps to itself.
template <typename T>
struct OwnRows {
  float *h, *sum;       // (d) the residual, and sums that only a norm reads
  T* x;                 // (d) normalised
  float* product;       // (2 d_ff or d) rows of weights times x
  float *query, *read;  // (dh)
  float* score;         // (keys of a chunk)
  T *gate, *up;         // (d_ff)
};

template <typename T>
class RowDecoder {
 public:
  RowDecoder(const RowStack& stack, const at::Tensor& embedding)
      : stack_(stack),
        config_(stack.config),
        d_(config_.d_model),
        ff_(config_.ff_size()),
        head_dim_(config_.head_dim()),
        scale_(1.0F / std::sqrt(static_cast<float>(head_dim_))),
        embedding_(embedding.const_data_ptr<float>()) {
    for (const RowLayer& layer : stack.layers) newest_.push_back(layer.attention->append_row());
  }

  DecodedRow run() {
    at::Tensor memory = at::empty({shared_bytes()}, at::kByte);
    auto* bytes = static_cast<char*>(memory.mutable_data_ptr());
    shared_ = {cut<T>(bytes, d_), cut<T>(bytes, d_), cut<T>(bytes, ff_)};
    DecodedRow result;
    result.tapped = at::empty({1, 1, d_}, at::kFloat);
    result.hidden = at::empty(
        {1, 1, d_}, stack_.final_norm.weight.master.options().dtype(c10::CppTypeToScalarType<T>::value));
    tapped_ = result.tapped.mutable_data_ptr<float>();
    hidden_ = result.hidden.mutable_data_ptr<T>();
    kernels::run_team([&](const TeamMember& member) { walk(member); });
    return result;
  }

 private:
  struct OwnMemory;

  int64_t shared_bytes() const { return (2 * d_ + ff_) * static_cast<int64_t>(sizeof(T)) + 3 * 64; }

  OwnRows<T> own_rows() const {
    const int64_t scores = config_.chunk_size;
    const int64_t floats = 2 * d_ + std::max(2 * ff_, d_) + 2 * head_dim_ + scores;
    const int64_t size = (floats + d_ + 2 * ff_) * static_cast<int64_t>(sizeof(float)) + 9 * 64;
    char* memory = kernels::ThreadWorkspace<char, OwnMemory>::get(size);
    return {cut<float>(memory, d_),
            cut<float>(memory, d_),
            cut<T>(memory, d_),
            cut<float>(memory, std::max(2 * ff_, d_)),
            cut<float>(memory, head_dim_),
            cut<float>(memory, head_dim_),
            cut<float>(memory, scores),
            cut<T>(memory, ff_),
            cut<T>(memory, ff_)};
  }

  /// All layers, in one thread of the team.
  void walk(const TeamMember& member) {
    OwnRows<T> own = own_rows();
    std::copy_n(embedding_, d_, own.h);
    bool has_update = false;
    for (size_t i = 0; i < stack_.layers.size(); ++i) {
      if (i == stack_.tapped) tap(has_update, own, member);
      run_layer(i, has_update, own, member);
    }
    normalise(stack_.final_norm, has_update, own.h, own);
    if (member.number == 0) std::copy_n(own.x, d_, hidden_);
  }

  void tap(bool& has_update, OwnRows<T>& own, const TeamMember& member) {
    add_update(has_update, own);
    if (member.number == 0) std::copy_n(own.h, d_, tapped_);
  }

  void run_layer(size_t i, bool& has_update, OwnRows<T>& own, const TeamMember& member) {
    const RowLayer& layer = stack_.layers[i];
    normalise(*layer.attn_norm, has_update, own.h, own);
    const MemoryAhead mlp = ops_.share_ahead(layer.mlp->w_gate, member);
    attend(layer, newest_[i], own, member, layer.reader ? queries_ahead(*layer.reader->wq, member) : mlp);
    if (layer.reader) {
      normalise(*layer.reader->norm, true, own.h, own);
      read_chunks(*layer.reader, own, member, mlp);
      normalise(*layer.mlp_norm, true, own.sum, own);  // of a + o; the residual stays a
      blend_residual(layer.reader->residual_blend, own);
    } else {
      normalise(*layer.mlp_norm, true, own.h, own);
    }
    const bool is_last = i + 1 == stack_.layers.size();
    ops_.run_mlp(*layer.mlp, own.x, shared_.gated, shared_.update, own.product, own.gate, own.up, member,
                 is_last ? MemoryAhead{} : queries_ahead(stack_.layers[i + 1].attn->wq, member));
    has_update = true;
  }

  /// The rows of W_q of the heads that a member takes.
  MemoryAhead queries_ahead(const Weight& wq, const TeamMember& member) const {
    const auto [first_head, end_head] = member.share(config_.n_heads);
    return ops_.rows_ahead(wq, first_head * head_dim_, (end_head - first_head) * head_dim_);
  }

  /// x = norm(h + update); the sum goes to `sum`, which may be h itself.
  void normalise(const Norm& norm, bool has_update, float* sum, OwnRows<T>& own) const {
    ops_.normalise(norm, d_, own.h, has_update ? shared_.update : nullptr, sum, own.x);
  }

  /// h += update.
  void add_update(bool& has_update, OwnRows<T>& own) const {
    if (!has_update) return;
    for (int64_t e = 0; e < d_; ++e) own.h[e] += static_cast<float>(shared_.update[e]);
    has_update = false;
  }

  /// h = a + lambda o, with a in h and o in update.
  void blend_residual(double residual_blend, OwnRows<T>& own) const {
    if (residual_blend == 1.0) {
      std::swap(own.h, own.sum);
    } else if (residual_blend != 0.0) {
      const auto blend = static_cast<float>(residual_blend);
      for (int64_t e = 0; e < d_; ++e) own.h[e] += blend * static_cast<float>(shared_.update[e]);
    }
  }

  /// update = W_o SelfAttn(x). The member reads `ahead` next.
  void attend(const RowLayer& layer, const RowAttention::OpenRow& newest, OwnRows<T>& own,
              const TeamMember& member, MemoryAhead ahead) {
    const AttentionWeights& weights = *layer.attn;
    const auto [first_head, end_head] = member.share(config_.n_heads);
    for (int64_t head = first_head; head < end_head; ++head) {
      const int64_t place = head * head_dim_;
      make_query(weights.wq, place, own);
      ops_.multiply(weights.wk, place, head_dim_, own.x, own.product, static_cast<T*>(newest.key) + place);
      ops_.multiply(weights.wv, place, head_dim_, own.x, own.product, static_cast<T*>(newest.value) + place);
      std::fill_n(own.read, head_dim_, 0.0F);
      layer.attention->read(head, own.query, own.read);
      ops_.round(head_dim_, own.read, shared_.attended + place);
    }
    member.wait(ops_.share_ahead(weights.wo, member));
    ops_.multiply_share(weights.wo, shared_.attended, own.product, shared_.update, member, ahead);
  }

  /// update = W_o GCA(W_q x). The member reads `ahead` next.
  void read_chunks(const RowReader& reader, OwnRows<T>& own, const TeamMember& member, MemoryAhead ahead) {
    const auto [first_head, end_head] = member.share(config_.n_heads);
    for (int64_t head = first_head; head < end_head; ++head) {
      const int64_t place = head * head_dim_;
      std::fill_n(own.read, head_dim_, 0.0F);
      if (reader.chunks->idx.defined()) {
        make_query(*reader.wq, place, own);
        const int64_t heads_per_kv = config_.n_heads / reader.chunks->keys.size(3);
        read_chunks_of_head(reader, head / heads_per_kv, own);
      }
      ops_.round(head_dim_, own.read, shared_.attended + place);
    }
    member.wait(ops_.share_ahead(*reader.wo, member));
    ops_.multiply_share(*reader.wo, shared_.attended, own.product, shared_.update, member, ahead);
  }

  void read_chunks_of_head(const RowReader& reader, int64_t kv_head, OwnRows<T>& own) const {
    const at::Tensor& k = reader.chunks->keys;  // (1, C, M, H_kv, dh)
    const at::Tensor& v = reader.chunks->values;
    const auto* chosen = reader.chunks->idx.template const_data_ptr<int32_t>();
    const auto* weights = reader.weights->template const_data_ptr<float>();
    for (int64_t slot = 0; slot < reader.chunks->idx.size(-1); ++slot) {
      if (chosen[slot] < 0) continue;
      const auto first = [&](const at::Tensor& rows) {
        return rows.const_data_ptr<T>() + chosen[slot] * rows.stride(1) + kv_head * rows.stride(3);
      };
      const OneQueryScores scores{
          .scale = scale_, .softmax_one = reader.softmax_off_by_one, .weight = weights[slot]};
      kernels::read_with_one_query(ops_.floats(), head_dim_, own.query,
                                   HeadRows<T>{first(k), first(v), k.stride(2), v.stride(2), k.size(2)},
                                   scores, own.score, own.read);
    }
  }

  /// The query of a head, rounded as the operator rounds it.
  void make_query(const Weight& weight, int64_t place, OwnRows<T>& own) const {
    T* rounded = own.gate;  // not in use here
    ops_.multiply(weight, place, head_dim_, own.x, own.product, rounded);
    ops_.widen(head_dim_, rounded, own.query);
  }

  const RowOps<T> ops_;
  const RowStack& stack_;
  const ModelConfig& config_;
  int64_t d_, ff_, head_dim_;
  float scale_;
  const float* embedding_;
  std::vector<RowAttention::OpenRow> newest_;  // one a layer
  SharedRows<T> shared_{};
  float* tapped_ = nullptr;
  T* hidden_ = nullptr;
};

}  // namespace

RowLayer row_layer(const DecoderLayer& layer, std::unique_ptr<RowAttention> attention) {
  return {&layer.attn_norm, &layer.attn, std::move(attention), std::nullopt, &layer.mlp_norm, &layer.mlp};
}

void add_row_layers(const WindowStack& stack, std::span<WindowCache> windows, const at::Tensor& slopes,
                    const ModelConfig& config, std::vector<RowLayer>& layers) {
  for (size_t i = 0; i < stack.layers.size(); ++i) {
    const DecoderLayer& layer = stack.layers[i];
    layers.push_back(row_layer(layer, window_row(windows[i], slopes, config, layer.attn.wq.compute_dtype)));
  }
}

bool can_decode_row(const std::vector<RowLayer>& layers) {
  if (layers.empty()) return false;
  return takes_rows(layers.front().attn->wq) &&
         std::all_of(layers.begin(), layers.end(),
                     [](const RowLayer& layer) { return layer.attention->takes_rows(); });
}

DecodedRow decode_row(const RowStack& stack, const at::Tensor& embedding) {
  const kernels::NamedWork work("gca::decode_position");
  if (stack.layers.front().attn->wq.compute_dtype == at::kFloat)
    return RowDecoder<float>(stack, embedding).run();
  return RowDecoder<at::BFloat16>(stack, embedding).run();
}

}  // namespace gca::model
