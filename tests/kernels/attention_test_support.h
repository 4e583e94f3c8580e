#pragma once
// What the tests of the attention operators share: golden files as tensors, errors relative to a tensor's
// largest entry, and operands that lie inside memory full of NaN.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <doctest/doctest.h>  // after LibTorch, whose CHECK aborts

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "lib/core/files/safetensors_file.h"

namespace gca::kernels {

inline const double kNan = std::numeric_limits<double>::quiet_NaN();

/// One file of tests/golden; F32 and I32 only.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& name)
      : file_((std::filesystem::path(GCA_GOLDEN_DIR) / name).replace_extension("safetensors").string()) {}

  at::Tensor tensor(const std::string& name) const {
    const SafetensorsEntry& entry = file_.at(name);
    at::Tensor result = at::empty(entry.shape, entry.dtype == "I32" ? at::kInt : at::kFloat);
    REQUIRE(entry.size_bytes == result.nbytes());
    std::memcpy(result.mutable_data_ptr(), entry.data, entry.size_bytes);
    return result;
  }
  double number(const std::string& name) const { return std::stod(file_.metadata().at(name)); }

 private:
  SafetensorsFile file_;
};

/// Largest difference over the largest entry of `expected`, or over `least` where that is more (a gradient
/// that is zero but for rounding); NaN when there is one anywhere.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected, double least = 1e-30) {
  REQUIRE(actual.sizes() == expected.sizes());
  if (actual.numel() == 0) return 0;
  const at::Tensor truth = expected.to(at::kDouble);
  const double difference = (actual.to(at::kDouble) - truth).abs().max().item<double>();
  const double largest = truth.abs().max().item<double>();
  return difference / std::max(largest, least);
}

/// The same values and strides of their own, inside a larger tensor of NaN: reading beside it shows in the result.
inline at::Tensor guarded(const at::Tensor& tensor) {
  if (!tensor.is_floating_point()) return tensor;
  std::vector<int64_t> larger = tensor.sizes().vec();
  for (int64_t& size : larger) size += 2;
  at::Tensor view = at::full(larger, kNan, tensor.options());
  for (int64_t dim = 0; dim < tensor.dim(); ++dim) view = view.narrow(dim, 1, tensor.size(dim));
  view.copy_(tensor);
  return view;
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(), a.nbytes()) == 0;
}

/// Runs with a number of threads, and puts the old number back.
class ThreadCountGuard {
 public:
  explicit ThreadCountGuard(int count) : previous_(at::get_num_threads()) { at::set_num_threads(count); }
  ~ThreadCountGuard() { at::set_num_threads(previous_); }
  ThreadCountGuard(const ThreadCountGuard&) = delete;
  ThreadCountGuard& operator=(const ThreadCountGuard&) = delete;

 private:
  int previous_;
};

}  // namespace gca::kernels
