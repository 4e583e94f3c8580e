#include "lib/model/memory_layout.h"

#include <c10/util/BFloat16.h>

#include <cmath>
#include <cstring>

#include "lib/core/error.h"

namespace gca {
namespace {

using Bf16 = c10::BFloat16;

/// `count` numbers from one type to another; the same type keeps every bit.
template <class From, class To>
void convert(const void* from, int64_t count, void* to) {
  const auto* in = static_cast<const From*>(from);
  auto* out = static_cast<To*>(to);
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<To>(static_cast<float>(in[i]));
}

template <class From>
void quantise(const void* from, int64_t rows, int64_t width, std::byte* to, std::byte* scales) {
  const auto* in = static_cast<const From*>(from);
  auto* out = reinterpret_cast<int8_t*>(to);
  for (int64_t row = 0; row < rows; ++row, in += width, out += width) {
    float largest = 0;
    for (int64_t i = 0; i < width; ++i) largest = std::fmax(largest, std::fabs(static_cast<float>(in[i])));
    const float scale = largest / 127.0F;
    const float inverse = largest > 0 ? 127.0F / largest : 0.0F;
    for (int64_t i = 0; i < width; ++i)
      out[i] = static_cast<int8_t>(std::nearbyintf(static_cast<float>(in[i]) * inverse));
    std::memcpy(scales + row * static_cast<int64_t>(sizeof(float)), &scale, sizeof(float));
  }
}

template <class To>
void restore(const std::byte* from, const std::byte* scales, int64_t rows, int64_t width, void* to) {
  const auto* in = reinterpret_cast<const int8_t*>(from);
  auto* out = static_cast<To*>(to);
  for (int64_t row = 0; row < rows; ++row, in += width, out += width) {
    float scale = 0;
    std::memcpy(&scale, scales + row * static_cast<int64_t>(sizeof(float)), sizeof(float));
    for (int64_t i = 0; i < width; ++i) out[i] = static_cast<To>(static_cast<float>(in[i]) * scale);
  }
}

/// Calls `run` with a value of the type that `compute_dtype` stands for.
template <class Run>
void for_type(at::ScalarType compute_dtype, const Run& run) {
  if (compute_dtype == at::kBFloat16)
    run(Bf16());
  else
    run(float());
}

}  // namespace

const char* name_of(MemoryDtype dtype) {
  switch (dtype) {
    case MemoryDtype::fp32:
      return "fp32";
    case MemoryDtype::bf16:
      return "bf16";
    case MemoryDtype::int8:
      return "int8";
  }
  return "";
}

MemoryDtype memory_dtype_of(const std::string& name, const std::string& where) {
  for (const MemoryDtype dtype : {MemoryDtype::fp32, MemoryDtype::bf16, MemoryDtype::int8})
    if (name == name_of(dtype)) return dtype;
  fail_usage(where, "\"" + name + "\" is no type of chunk memory", "use bf16, fp32 or int8");
}

MemoryDtype lossless_dtype(at::ScalarType compute_dtype) {
  if (compute_dtype == at::kBFloat16) return MemoryDtype::bf16;
  if (compute_dtype == at::kFloat) return MemoryDtype::fp32;
  fail_run("chunk memory", "float64 cannot be kept");
}

MemoryLayout MemoryLayout::of(const ModelConfig& config, at::ScalarType compute_dtype, MemoryDtype dtype) {
  return {.chunk_text = config.chunk_text_size(),
          .n_kv_heads = config.n_kv_heads,
          .head_dim = config.head_dim(),
          .d_model = config.d_model,
          .compute_dtype = compute_dtype,
          .dtype = dtype};
}

int64_t MemoryLayout::record_bytes() const {
  switch (dtype) {
    case MemoryDtype::fp32:
      return 2 * element_count() * 4;
    case MemoryDtype::bf16:
      return 2 * element_count() * 2;
    case MemoryDtype::int8:
      return 2 * element_count() + 2 * row_count() * static_cast<int64_t>(sizeof(float));
  }
  return 0;
}

void MemoryLayout::encode(const void* keys, const void* values, std::byte* record) const {
  const int64_t n = element_count();
  for_type(compute_dtype, [&](auto compute) {
    using Compute = decltype(compute);
    switch (dtype) {
      case MemoryDtype::fp32:
        convert<Compute, float>(keys, n, record);
        convert<Compute, float>(values, n, record + 4 * n);
        break;
      case MemoryDtype::bf16:
        convert<Compute, Bf16>(keys, n, record);
        convert<Compute, Bf16>(values, n, record + 2 * n);
        break;
      case MemoryDtype::int8: {
        std::byte* scales = record + 2 * n;
        quantise<Compute>(keys, row_count(), head_dim, record, scales);
        quantise<Compute>(values, row_count(), head_dim, record + n, scales + 4 * row_count());
        break;
      }
    }
  });
}

void MemoryLayout::decode(const std::byte* record, void* keys, void* values) const {
  const int64_t n = element_count();
  for_type(compute_dtype, [&](auto compute) {
    using Compute = decltype(compute);
    switch (dtype) {
      case MemoryDtype::fp32:
        convert<float, Compute>(record, n, keys);
        convert<float, Compute>(record + 4 * n, n, values);
        break;
      case MemoryDtype::bf16:
        convert<Bf16, Compute>(record, n, keys);
        convert<Bf16, Compute>(record + 2 * n, n, values);
        break;
      case MemoryDtype::int8: {
        const std::byte* scales = record + 2 * n;
        restore<Compute>(record, scales, row_count(), head_dim, keys);
        restore<Compute>(record + n, scales + 4 * row_count(), row_count(), head_dim, values);
        break;
      }
    }
  });
}

}  // namespace gca
