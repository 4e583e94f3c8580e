#pragma once
// A tensor of bfloat16 or float in device memory with room between its rows, which is NaN.

#include <numeric>
#include <string>
#include <vector>

#include "tests/cuda/numbers.h"
#include "tests/ptx_machine/global_memory.h"

namespace gca::testing {

template <class T>
class Strided {
 public:
  /// `shape` with its last dimension side by side; the dimension before it has rows `pad` elements longer.
  /// With `packed` set (for counting costs) the rows lie side by side.
  static inline bool packed = false;
  Strided(std::vector<int64_t> shape, int64_t pad) : shape_(std::move(shape)), strides_(shape_.size(), 1) {
    for (size_t i = shape_.size() - 1; i > 0; --i)
      strides_[i - 1] = strides_[i] * shape_[i] + (i + 1 == shape_.size() && !packed ? pad : 0);
    data_.assign(static_cast<size_t>(strides_[0] * shape_[0]), from_float<T>(kNan));
  }

  int64_t stride(size_t dim) const { return strides_[dim]; }
  std::vector<T>& data() { return data_; }

  void put(const std::vector<float>& values) {
    for (size_t i = 0; i < values.size(); ++i)
      data_[place(static_cast<int64_t>(i))] = from_float<T>(values[i]);
  }
  std::vector<double> get() const {
    const int64_t size = std::accumulate(shape_.begin(), shape_.end(), int64_t{1}, std::multiplies<>());
    std::vector<double> values(static_cast<size_t>(size));
    for (size_t i = 0; i < values.size(); ++i) values[i] = to_float(data_[place(static_cast<int64_t>(i))]);
    return values;
  }

  T* on_device(ptx::GlobalMemory& memory, const std::string& name, ptx::Access access) {
    return memory.add(name, std::span<T>(data_), access);
  }

 private:
  template <class U>
  static U from_float(float value) {
    if constexpr (sizeof(U) == 2)
      return to_bf16(value);
    else
      return value;
  }
  size_t place(int64_t index) const {
    int64_t result = 0;
    for (size_t i = shape_.size(); i-- > 0;) {
      result += index % shape_[i] * strides_[i];
      index /= shape_[i];
    }
    return static_cast<size_t>(result);
  }

  std::vector<int64_t> shape_, strides_;
  std::vector<T> data_;
};

}  // namespace gca::testing
