#pragma once
// How the keys and values of one chunk are kept.
//
//   fp32, bf16   as they are
//   int8         one scale per row, a row being one head of one position: q = round(x / s), s = max |x| / 127.
//                What is read differs by at most s / 2 = max |x| / 254, before it is rounded to the compute type.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/model/model_config.h"

namespace gca::model {

enum class MemoryDtype { fp32, bf16, int8 };

/// "fp32", "bf16", "int8".
const char* name_of(MemoryDtype dtype);
/// Throws Error(usage) naming `where` for another word.
MemoryDtype memory_dtype_of(const std::string& name, const std::string& where);
/// The one that keeps every bit of `compute_dtype`. Throws Error(failed) for float64, which only tests
/// compute in.
MemoryDtype lossless_dtype(at::ScalarType compute_dtype);

/// A record: keys, then values, (S-1, H_kv, dh) each; for int8 their scales behind, float32, (S-1, H_kv)
/// each.
struct MemoryLayout {
  int64_t chunk_text = 0;  ///< S-1
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t d_model = 0;                        ///< of landmarks, float32
  at::ScalarType compute_dtype = at::kFloat;  ///< of keys and values outside
  MemoryDtype dtype = MemoryDtype::fp32;      ///< within

  static MemoryLayout of(const ModelConfig& config, at::ScalarType compute_dtype, MemoryDtype dtype);

  int64_t row_count() const { return chunk_text * n_kv_heads; }
  int64_t element_count() const { return row_count() * head_dim; }  ///< of keys, or of values
  int64_t record_bytes() const;
  bool operator==(const MemoryLayout&) const = default;

  /// keys and values: element_count() numbers of the compute type each. Records lie at multiples of 4 bytes.
  void encode(const std::byte* keys, const std::byte* values, std::byte* record) const;
  void decode(const std::byte* record, std::byte* keys, std::byte* values) const;
};

}  // namespace gca::model
