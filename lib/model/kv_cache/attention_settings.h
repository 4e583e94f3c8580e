#pragma once
// What every cache needs to know of a model's attention.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/layers/rotary_angles.h"
#include "lib/model/model_config.h"

namespace gca::model {

struct AttentionSettings {
  std::shared_ptr<const RotaryAngles> angles;
  at::Tensor slopes;  ///< (H) type of statistics; 0 where positions are rotated
  double scale;       ///< 1 / sqrt(dh)
  int64_t layers, heads, kv_heads, head_dim;
  KvDtype kv_dtype = KvDtype::compute;

  /// Of a key and its value, of one head, computed in `type`.
  double bytes_per_row(at::ScalarType type) const {
    const auto elements = static_cast<double>(head_dim);
    return 2.0 * (kv_dtype == KvDtype::int8 ? elements + sizeof(float)
                                            : elements * static_cast<double>(c10::elementSize(type)));
  }

  /// `dtype`: the type of statistics.
  static AttentionSettings of(const ModelConfig& config, at::ScalarType dtype,
                              KvDtype kv_dtype = KvDtype::compute);
};

}  // namespace gca::model
