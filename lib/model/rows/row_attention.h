#pragma once
// What the heads of a layer read at one position of one text. A kind of backbone whose layers differ from others by their
// attention alone decodes through row_decoder.h with an attention of its own.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <utility>

namespace gca::model {

class RowAttention {
 public:
  /// Where the position's key and value go: rows (H, dh), dense, of the compute type.
  struct OpenRow {
    void* key;
    void* value;
  };

  virtual ~RowAttention() = default;
  RowAttention() = default;
  RowAttention(const RowAttention&) = delete;
  RowAttention& operator=(const RowAttention&) = delete;

  /// Whether the layer's past takes a position in this way: it must hold some already, of one text.
  virtual bool takes_rows() const = 0;
  /// Appends a position to the layer's past. Called once.
  virtual OpenRow append_row() = 0;
  /// What head `head` reads with `query` (dh), after its key and its value have been written: added to `out` (dh), which is 0.
  /// The members of a team call it at the same time, each for its own heads. Must not throw.
  virtual void read(int64_t head, const float* query, float* out) = 0;
};

/// An `Attention` of elements of a compute type.
template <template <typename T> class Attention, typename... Arguments>
std::unique_ptr<RowAttention> make_row_attention(at::ScalarType compute_dtype, Arguments&&... arguments) {
  if (compute_dtype == at::kBFloat16)
    return std::make_unique<Attention<at::BFloat16>>(std::forward<Arguments>(arguments)...);
  return std::make_unique<Attention<float>>(std::forward<Arguments>(arguments)...);
}

}  // namespace gca::model
