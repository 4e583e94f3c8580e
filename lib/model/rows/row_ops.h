#pragma once
// What the layers of one position are made of, row by row and without an operator's overhead: for teams of threads
// (kernels/common/thread_team.h), of which each takes its share of the rows of every weight.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/common/implementation.h"
#include "kernels/common/row_kernels.h"
#include "kernels/common/thread_team.h"
#include "kernels/common/tile_operand.h"
#include "kernels/linear/linear_few_rows.h"
#include "lib/model/layers/transformer_layer.h"

namespace gca::model {

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

/// Cuts `count` elements off a block of memory, at a cache line.
template <typename T>
T* cut(char*& memory, int64_t count) {
  constexpr size_t kLine = 64;
  T* piece = reinterpret_cast<T*>(memory);
  memory += (static_cast<size_t>(count) * sizeof(T) + kLine - 1) / kLine * kLine;
  return piece;
}

/// True where weights like this one are multiplied here: float32 or bf16 on the CPU, but not by the reference.
inline bool takes_rows(const Weight& weight) {
  return kernels::implementation() != kernels::Implementation::reference &&
         (weight.compute_dtype == at::kFloat || weight.compute_dtype == at::kBFloat16) &&
         weight.master.device().is_cpu();
}

template <typename T>
class RowOps {
 public:
  using Bits = typename ComputeType<T>::Bits;

  static Bits* bits(T* data) { return reinterpret_cast<Bits*>(data); }
  static const Bits* bits(const T* data) { return reinterpret_cast<const Bits*>(data); }

  /// sum = h + update and x = norm(sum), each (d); `sum` may be h itself. Without an update (nullptr) x = norm(h), and
  /// `sum` is left alone.
  void normalise(const Norm& norm, int64_t d, const float* h, const T* update, float* sum, T* x) const {
    float inverse_rms = 0;
    ComputeType<T>::rows().add_rms_norm(d, h, bits(update), norm.weight.master.const_data_ptr<float>(),
                                        static_cast<float>(norm.eps), sum, bits(x), &inverse_rms);
  }

  /// to = rows first to first + count of the weight, times x. `product` holds `count` floats.
  void multiply(const Weight& weight, int64_t first, int64_t count, const T* x, float* product, T* to) const {
    const int64_t in = weight.master.size(1);
    if (weight.int8.defined())
      kernels::multiply_rows(count, in, x, weight.int8.rows_from(first), product);
    else
      kernels::multiply_rows(count, in, x, weight.compute.const_data_ptr<T>() + first * in, product);
    round(count, product, to);
  }

  /// Where rows first to first + count of the weight lie, for those who wait until they may multiply them.
  kernels::MemoryAhead rows_ahead(const Weight& weight, int64_t first, int64_t count) const {
    const int64_t in = weight.master.size(1);
    if (weight.int8.defined())
      return std::as_bytes(std::span(weight.int8.rows_from(first).q, static_cast<size_t>(count * in)));
    return std::as_bytes(
        std::span(weight.compute.const_data_ptr<T>() + first * in, static_cast<size_t>(count * in)));
  }
  /// The same of the rows that multiply_share() gives a member.
  kernels::MemoryAhead share_ahead(const Weight& weight, const kernels::TeamMember& member) const {
    const auto [first, last] = member.share(weight.master.size(0), kRowUnit);
    return rows_ahead(weight, first, last - first);
  }

  /// to = W_down( silu(W_gate x) * W_up x ), of which each member makes its rows, by way of `gated` (d_ff), which all
  /// share. `product` and `up` hold d_ff, `gate` as many. The member reads `ahead` next.
  void run_mlp(const MlpWeights& weights, const T* x, T* gated, T* to, float* product, T* gate, T* up,
               const kernels::TeamMember& member, kernels::MemoryAhead ahead = {}) const {
    const auto [begin, end] = member.share(weights.w_gate.master.size(0), kRowUnit);
    multiply(weights.w_gate, begin, end - begin, x, product, gate);
    multiply(weights.w_up, begin, end - begin, x, product, up);
    ComputeType<T>::rows().swiglu(end - begin, bits(gate), bits(up), bits(gated + begin));
    member.wait(share_ahead(weights.w_down, member));
    multiply_share(weights.w_down, gated, product, to, member, ahead);
  }

  /// to = W x, rows by members; returns when all are there. The member reads `ahead` next.
  void multiply_share(const Weight& weight, const T* x, float* product, T* to,
                      const kernels::TeamMember& member, kernels::MemoryAhead ahead = {}) const {
    const auto [first, last] = member.share(weight.master.size(0), kRowUnit);
    multiply(weight, first, last - first, x, product, to + first);
    member.wait(ahead);
  }

  void round(int64_t count, const float* from, T* to) const {
    kernels::store_tile(floats_, 1, count, from, 0, to, 0);
  }
  void widen(int64_t count, T* from, float* to) const {
    kernels::load_tile(floats_, 1, count, from, 0, to, 0);
  }
  const kernels::TileKernels& floats() const { return floats_; }

 private:
  const kernels::TileKernels& floats_ = kernels::tile_kernels();
};

}  // namespace gca::model
