#pragma once
// How tensors enter and leave tiles: views of a tensor's rows (the last dimension), scratch memory, and the
// conversion between an element type and float.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

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

  /// Elements from one index of a leading dimension to the next.
  int64_t stride(size_t dimension) const { return stride_[dimension]; }

 private:
  T* data_;
  std::array<int64_t, kLeading> stride_;
};

/// Zeroed elements at a cache line, as many as asked for.
template <typename Element = float>
class TileBuffer {
 public:
  TileBuffer() = default;
  explicit TileBuffer(int64_t count)
      : elements_(static_cast<Element*>(std::aligned_alloc(kAlignment, size_bytes(count)))) {
    if (!elements_) throw std::bad_alloc();
    std::fill_n(elements_.get(), count, Element{});
  }
  Element* data() const { return elements_.get(); }

 private:
  static constexpr size_t kAlignment = 64;
  static size_t size_bytes(int64_t count) {
    const size_t size = static_cast<size_t>(count) * sizeof(Element);
    return (size / kAlignment + 1) * kAlignment;
  }
  struct Free {
    void operator()(Element* elements) const { std::free(elements); }
  };
  std::unique_ptr<Element[], Free> elements_;
};

inline void scale_floats(float factor, int64_t count, float* floats) {
  for (int64_t i = 0; i < count; ++i) floats[i] *= factor;
}

/// Copies `rows` rows of `columns` elements, `row_step` elements apart, into a tile. Padding columns are not
/// touched.
inline void load_tile(const TileKernels& kernels, int64_t rows, int64_t columns, const float* first,
                      int64_t row_step, float* tile, int64_t stride) {
  kernels.copy_rows(rows, columns, first, row_step, tile, stride);
}
inline void load_tile(const TileKernels& kernels, int64_t rows, int64_t columns, const at::BFloat16* first,
                      int64_t row_step, float* tile, int64_t stride) {
  kernels.widen_bf16(rows, columns, reinterpret_cast<const uint16_t*>(first), row_step, tile, stride);
}

/// The way back.
inline void store_tile(const TileKernels& kernels, int64_t rows, int64_t columns, const float* tile,
                       int64_t stride, float* first, int64_t row_step) {
  kernels.copy_rows(rows, columns, tile, stride, first, row_step);
}
inline void store_tile(const TileKernels& kernels, int64_t rows, int64_t columns, const float* tile,
                       int64_t stride, at::BFloat16* first, int64_t row_step) {
  kernels.narrow_bf16(rows, columns, tile, stride, reinterpret_cast<uint16_t*>(first), row_step);
}

/// sum[i] = <x, row i>; x has `columns` floats.
inline void dot_rows(const TileKernels& kernels, int64_t rows, int64_t columns, const float* x,
                     const float* first, int64_t row_step, float* sum) {
  kernels.row_products(rows, columns, x, first, row_step, sum);
}
inline void dot_rows(const TileKernels& kernels, int64_t rows, int64_t columns, const float* x,
                     const at::BFloat16* first, int64_t row_step, float* sum) {
  kernels.row_products_bf16(rows, columns, x, reinterpret_cast<const uint16_t*>(first), row_step, sum);
}

/// sum[e] += weight[i] * element e of row i, over all rows.
inline void add_weighted_rows(const TileKernels& kernels, int64_t rows, int64_t columns, const float* weight,
                              const float* first, int64_t row_step, float* sum) {
  kernels.add_weighted_rows(rows, columns, weight, first, row_step, sum);
}
inline void add_weighted_rows(const TileKernels& kernels, int64_t rows, int64_t columns, const float* weight,
                              const at::BFloat16* first, int64_t row_step, float* sum) {
  kernels.add_weighted_rows_bf16(rows, columns, weight, reinterpret_cast<const uint16_t*>(first), row_step,
                                 sum);
}

}  // namespace gca::kernels
