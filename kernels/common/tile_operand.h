#pragma once
// How tensors enter and leave tiles: views of a tensor's rows (the last dimension), scratch memory, and the
// conversion between an element type and float.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <new>

#include "kernels/common/tile_kernels.h"

namespace gca::kernels {

/// The tensor itself where the elements of a row lie side by side, else a copy where they do. Other strides
/// may be any.
inline at::Tensor with_dense_rows(const at::Tensor& tensor) {
  return tensor.stride(-1) == 1 ? tensor : tensor.contiguous();
}

/// Rows of a tensor of kLeading leading dimensions and a dense last one. Does not own.
template <typename T, size_t kLeading>
class RowView {
 public:
  /// Const tensor, const or mutable elements by T.
  explicit RowView(const at::Tensor& tensor) {
    if constexpr (std::is_const_v<T>) {
      data_ = tensor.const_data_ptr<std::remove_const_t<T>>();
    } else {
      data_ = tensor.mutable_data_ptr<T>();
    }
    for (size_t i = 0; i < kLeading; ++i) stride_[i] = tensor.stride(static_cast<int64_t>(i));
  }

  template <typename... Index>
  T* operator()(Index... index) const {
    static_assert(sizeof...(Index) == kLeading);
    const std::array<int64_t, kLeading> place{index...};
    T* row = data_;
    for (size_t i = 0; i < kLeading; ++i) row += place[i] * stride_[i];
    return row;
  }

 private:
  T* data_;
  std::array<int64_t, kLeading> stride_;
};

/// Zeroed floats at a cache line, as many as asked for.
class TileBuffer {
 public:
  TileBuffer() = default;
  explicit TileBuffer(int64_t count)
      : floats_(static_cast<float*>(std::aligned_alloc(kAlignment, size_bytes(count)))) {
    if (!floats_) throw std::bad_alloc();
    std::fill_n(floats_.get(), count, 0.0F);
  }
  float* data() const { return floats_.get(); }

 private:
  static constexpr size_t kAlignment = 64;
  static size_t size_bytes(int64_t count) {
    const size_t size = static_cast<size_t>(count) * sizeof(float);
    return (size / kAlignment + 1) * kAlignment;
  }
  struct Free {
    void operator()(float* floats) const { std::free(floats); }
  };
  std::unique_ptr<float[], Free> floats_;
};

inline void widen(const TileKernels&, int64_t count, const float* from, float* to) {
  std::copy_n(from, count, to);
}
inline void widen(const TileKernels& kernels, int64_t count, const at::BFloat16* from, float* to) {
  kernels.widen_bf16(count, reinterpret_cast<const uint16_t*>(from), to);
}

inline void narrow(const TileKernels&, int64_t count, const float* from, float* to) {
  std::copy_n(from, count, to);
}
inline void narrow(const TileKernels& kernels, int64_t count, const float* from, at::BFloat16* to) {
  kernels.narrow_bf16(count, from, reinterpret_cast<uint16_t*>(to));
}

/// Copies `rows` rows of `columns` elements into a tile; `row_at(i)` points at row i. Padding columns are not
/// touched.
template <typename RowAt>
void load_tile(const TileKernels& kernels, int64_t rows, int64_t columns, RowAt row_at, float* tile,
               int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) widen(kernels, columns, row_at(i), tile + i * stride);
}

/// The way back. The tile is scaled in passing (and left scaled).
template <typename RowAt>
void store_tile(const TileKernels& kernels, int64_t rows, int64_t columns, float scale, float* tile,
                int64_t stride, RowAt row_at) {
  for (int64_t i = 0; i < rows; ++i) {
    float* from = tile + i * stride;
    if (scale != 1.0F) {
      for (int64_t e = 0; e < columns; ++e) from[e] *= scale;
    }
    narrow(kernels, columns, from, row_at(i));
  }
}

}  // namespace gca::kernels
