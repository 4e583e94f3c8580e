#include "lib/model/memory/memory_layout.h"

#include <cstring>
#include <type_traits>

#include "kernels/common/row_kernels.h"
#include "kernels/common/tile_kernels.h"
#include "lib/core/error.h"

namespace gca::model {
namespace {

/// `count` numbers of float or bf16 (as its bits) from one type to the other; the same type keeps every bit.
template <class From, class To>
void convert(const std::byte* from, int64_t count, std::byte* to) {
  const auto* in = reinterpret_cast<const From*>(from);
  auto* out = reinterpret_cast<To*>(to);
  if constexpr (std::is_same_v<From, To>)
    std::memcpy(out, in, static_cast<size_t>(count) * sizeof(From));
  else if constexpr (std::is_same_v<From, float>)
    kernels::tile_kernels().narrow_bf16(1, count, in, 0, out, 0);
  else
    kernels::tile_kernels().widen_bf16(1, count, in, 0, out, 0);
}

/// The row kernels of float or bf16.
template <class Element>
const kernels::RowKernels<Element>& row_kernels() {
  if constexpr (std::is_same_v<Element, float>)
    return kernels::row_kernels().of_float;
  else
    return kernels::row_kernels().of_bf16;
}

/// Calls `run` with a value of the type that `compute_dtype` stands for.
template <class Run>
void for_type(at::ScalarType compute_dtype, const Run& run) {
  if (compute_dtype == at::kBFloat16)
    run(uint16_t());
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
  fail_usage(where, "\"" + name + "\" is not a type of chunk memory", "use bf16, fp32 or int8");
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

void MemoryLayout::encode(const std::byte* keys, const std::byte* values, std::byte* record) const {
  const int64_t n = element_count();
  for_type(compute_dtype, [&](auto compute) {
    using Compute = decltype(compute);
    switch (dtype) {
      case MemoryDtype::fp32:
        convert<Compute, float>(keys, n, record);
        convert<Compute, float>(values, n, record + 4 * n);
        break;
      case MemoryDtype::bf16:
        convert<Compute, uint16_t>(keys, n, record);
        convert<Compute, uint16_t>(values, n, record + 2 * n);
        break;
      case MemoryDtype::int8: {
        auto* bytes = reinterpret_cast<int8_t*>(record);
        auto* scales = reinterpret_cast<float*>(record + 2 * n);
        const auto& rows = row_kernels<Compute>();
        rows.quantise_rows(row_count(), head_dim, reinterpret_cast<const Compute*>(keys), bytes, scales);
        rows.quantise_rows(row_count(), head_dim, reinterpret_cast<const Compute*>(values), bytes + n,
                           scales + row_count());
        break;
      }
    }
  });
}

void MemoryLayout::decode(const std::byte* record, std::byte* keys, std::byte* values) const {
  const int64_t n = element_count();
  for_type(compute_dtype, [&](auto compute) {
    using Compute = decltype(compute);
    switch (dtype) {
      case MemoryDtype::fp32:
        convert<float, Compute>(record, n, keys);
        convert<float, Compute>(record + 4 * n, n, values);
        break;
      case MemoryDtype::bf16:
        convert<uint16_t, Compute>(record, n, keys);
        convert<uint16_t, Compute>(record + 2 * n, n, values);
        break;
      case MemoryDtype::int8: {
        const auto* bytes = reinterpret_cast<const int8_t*>(record);
        const auto* scales = reinterpret_cast<const float*>(record + 2 * n);
        const auto& rows = row_kernels<Compute>();
        rows.restore_rows(row_count(), head_dim, bytes, scales, reinterpret_cast<Compute*>(keys));
        rows.restore_rows(row_count(), head_dim, bytes + n, scales + row_count(),
                          reinterpret_cast<Compute*>(values));
        break;
      }
    }
  });
}

}  // namespace gca::model
