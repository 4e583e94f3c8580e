#include "lib/model/row_decoder.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "kernels/common/implementation.h"
#include "kernels/common/named_work.h"
#include "kernels/common/one_query_attention.h"
#include "kernels/common/row_kernels.h"
#include "kernels/common/thread_team.h"
#include "kernels/common/thread_workspace.h"
#include "kernels/linear/linear_few_rows.h"

namespace gca::model {
namespace {

using kernels::HeadRows;
using kernels::OneQueryScores;
using kernels::TeamMember;

/// Elements of the compute type as tensors and as row functions know them.
template <typename T>
struct ComputeType;
template <>
struct ComputeType<float> {
  using Bits = float;
  static const kernels::RowKernels<float>& rows() { return kernels::row_kernels().of_float; }
};
template <>
struct ComputeType<at::BFloat16> {
  using Bits = uint16_t;
  static const kernels::RowKernels<uint16_t>& rows() { return kernels::row_kernels().of_bf16; }
};

/// Rows of a weight that a member takes at once.
constexpr int64_t kRowUnit = 8;

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
  float* score;         // (W + 1, or keys of a chunk)
  T *gate, *up;         // (d_ff)
};

/// Cuts `count` elements off a block of memory, at a cache line.
template <typename T>
T* cut(char*& memory, int64_t count) {
  constexpr size_t kLine = 64;
  T* piece = reinterpret_cast<T*>(memory);
  memory += (static_cast<size_t>(count) * sizeof(T) + kLine - 1) / kLine * kLine;
  return piece;
}

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
        slopes_(stack.slopes.const_data_ptr<float>()),
        embedding_(embedding.const_data_ptr<float>()) {
    for (const RowLayer& layer : stack.layers)
      windows_.push_back(layer.window->append_row(config_.window_size));
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
  using Bits = typename ComputeType<T>::Bits;
  struct OwnMemory;

  int64_t shared_bytes() const { return (2 * d_ + ff_) * static_cast<int64_t>(sizeof(T)) + 3 * 64; }

  OwnRows<T> own_rows() const {
    const int64_t scores = std::max(config_.window_size + 1, config_.chunk_size);
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
      run_layer(stack_.layers[i], windows_[i], has_update, own, member);
    }
    normalise(stack_.final_norm, has_update, own.h, own);
    if (member.number == 0) std::copy_n(own.x, d_, hidden_);
  }

  void tap(bool& has_update, OwnRows<T>& own, const TeamMember& member) {
    add_update(has_update, own);
    if (member.number == 0) std::copy_n(own.h, d_, tapped_);
  }

  void run_layer(const RowLayer& layer, const WindowCache::OpenRow& window, bool& has_update, OwnRows<T>& own,
                 const TeamMember& member) {
    normalise(*layer.attn_norm, has_update, own.h, own);
    attend(*layer.attn, window, own, member);
    if (layer.reader) {
      normalise(*layer.reader->norm, true, own.h, own);
      read_chunks(*layer.reader, own, member);
      normalise(*layer.mlp_norm, true, own.sum, own);  // of a + o; the residual stays a
      blend_residual(layer.reader->residual_blend, own);
    } else {
      normalise(*layer.mlp_norm, true, own.h, own);
    }
    run_mlp(*layer.mlp, own, member);
    has_update = true;
  }

  /// x = norm(h + update); the sum goes to `sum`, which may be h itself.
  void normalise(const Norm& norm, bool has_update, float* sum, OwnRows<T>& own) const {
    float inverse_rms = 0;
    ComputeType<T>::rows().add_rms_norm(d_, own.h, has_update ? bits(shared_.update) : nullptr,
                                        norm.weight.master.template const_data_ptr<float>(),
                                        static_cast<float>(norm.eps), sum, bits(own.x), &inverse_rms);
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

  /// update = W_o SelfAttn(x).
  void attend(const AttentionWeights& weights, const WindowCache::OpenRow& window, OwnRows<T>& own,
              const TeamMember& member) {
    const auto [first_head, end_head] = member.share(config_.n_heads);
    const int64_t newest = (window.count - 1) * d_;
    auto* keys = static_cast<T*>(window.keys);
    auto* values = static_cast<T*>(window.values);
    for (int64_t head = first_head; head < end_head; ++head) {
      const int64_t place = head * head_dim_;
      make_query(weights.wq, place, own);
      multiply(weights.wk, place, head_dim_, own.x, own.product, keys + newest + place);
      multiply(weights.wv, place, head_dim_, own.x, own.product, values + newest + place);
      const float slope = slopes_[head];
      const OneQueryScores scores{
          .scale = scale_, .bias = -slope * static_cast<float>(window.count - 1), .bias_step = slope};
      std::fill_n(own.read, head_dim_, 0.0F);
      kernels::read_with_one_query(floats_, head_dim_, own.query,
                                   HeadRows<T>{keys + place, values + place, d_, d_, window.count}, scores,
                                   own.score, own.read);
      round(head_dim_, own.read, shared_.attended + place);
    }
    member.wait();
    multiply_share(weights.wo, own, member);
  }

  /// update = W_o GCA(W_q x).
  void read_chunks(const RowReader& reader, OwnRows<T>& own, const TeamMember& member) {
    const auto [first_head, end_head] = member.share(config_.n_heads);
    for (int64_t head = first_head; head < end_head; ++head) {
      const int64_t place = head * head_dim_;
      std::fill_n(own.read, head_dim_, 0.0F);
      if (reader.chunks->idx.defined()) {
        make_query(*reader.wq, place, own);
        const int64_t heads_per_kv = config_.n_heads / reader.chunks->keys.size(3);
        read_chunks_of_head(reader, head / heads_per_kv, own);
      }
      round(head_dim_, own.read, shared_.attended + place);
    }
    member.wait();
    multiply_share(*reader.wo, own, member);
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
      kernels::read_with_one_query(floats_, head_dim_, own.query,
                                   HeadRows<T>{first(k), first(v), k.stride(2), v.stride(2), k.size(2)},
                                   scores, own.score, own.read);
    }
  }

  /// update = W_down( silu(W_gate x) * W_up x ).
  void run_mlp(const MlpWeights& weights, OwnRows<T>& own, const TeamMember& member) {
    const auto [begin, end] = member.share(ff_, kRowUnit);
    multiply(weights.w_gate, begin, end - begin, own.x, own.product, own.gate);
    multiply(weights.w_up, begin, end - begin, own.x, own.product, own.up);
    ComputeType<T>::rows().swiglu(end - begin, bits(own.gate), bits(own.up), bits(shared_.gated + begin));
    member.wait();
    const auto [first, last] = member.share(d_, kRowUnit);
    multiply(weights.w_down, first, last - first, shared_.gated, own.product, shared_.update + first);
    member.wait();
  }

  /// update = W attended, rows by members.
  void multiply_share(const Weight& weight, OwnRows<T>& own, const TeamMember& member) {
    const auto [first, last] = member.share(d_, kRowUnit);
    multiply(weight, first, last - first, shared_.attended, own.product, shared_.update + first);
    member.wait();
  }

  /// The query of a head, rounded as the operator rounds it.
  void make_query(const Weight& weight, int64_t place, OwnRows<T>& own) const {
    T* rounded = own.gate;  // not in use here
    multiply(weight, place, head_dim_, own.x, own.product, rounded);
    kernels::load_tile(floats_, 1, head_dim_, rounded, 0, own.query, 0);
  }

  /// to = rows first to first + count of the weight, times x.
  void multiply(const Weight& weight, int64_t first, int64_t count, const T* x, float* product, T* to) const {
    const int64_t in = weight.master.size(1);
    if (weight.int8.defined())
      kernels::multiply_rows(count, in, x, weight.int8.rows_from(first), product);
    else
      kernels::multiply_rows(count, in, x, weight.compute.const_data_ptr<T>() + first * in, product);
    round(count, product, to);
  }

  void round(int64_t count, const float* from, T* to) const {
    kernels::store_tile(floats_, 1, count, from, 0, to, 0);
  }

  static Bits* bits(T* data) { return reinterpret_cast<Bits*>(data); }
  static const Bits* bits(const T* data) { return reinterpret_cast<const Bits*>(data); }

  const kernels::TileKernels& floats_ = kernels::tile_kernels();
  const RowStack& stack_;
  const ModelConfig& config_;
  int64_t d_, ff_, head_dim_;
  float scale_;
  const float* slopes_;
  const float* embedding_;
  std::vector<WindowCache::OpenRow> windows_;  // one a layer
  SharedRows<T> shared_{};
  float* tapped_ = nullptr;
  T* hidden_ = nullptr;
};

}  // namespace

void add_row_layers(const WindowStack& stack, std::span<WindowCache> windows, std::vector<RowLayer>& layers) {
  for (size_t i = 0; i < stack.layers.size(); ++i) {
    const DecoderLayer& layer = stack.layers[i];
    layers.push_back({&layer.attn_norm, &layer.attn, &windows[i], std::nullopt, &layer.mlp_norm, &layer.mlp});
  }
}

bool can_decode_row(const std::vector<RowLayer>& layers) {
  if (kernels::implementation() == kernels::Implementation::reference || layers.empty()) return false;
  const Weight& weight = layers.front().attn->wq;
  if ((weight.compute_dtype != at::kFloat && weight.compute_dtype != at::kBFloat16) ||
      !weight.master.device().is_cpu())
    return false;
  return std::all_of(layers.begin(), layers.end(),
                     [](const RowLayer& layer) { return layer.window->takes_rows(); });
}

DecodedRow decode_row(const RowStack& stack, const at::Tensor& embedding) {
  const kernels::NamedWork work("gca::decode_position");
  if (stack.layers.front().attn->wq.compute_dtype == at::kFloat)
    return RowDecoder<float>(stack, embedding).run();
  return RowDecoder<at::BFloat16>(stack, embedding).run();
}

}  // namespace gca::model
