#pragma once
// Keys and values of the last positions of one self-attention layer.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/model/layers/layer_caches.h"

namespace gca::model {

class WindowCache {
 public:
  /// All that new positions may read: (B, P + n, H, dh), P <= W.
  struct Rows {
    at::Tensor keys;
    at::Tensor values;
  };

  /// Appends n positions, keys and values (B, n, H, dh), and forgets all but the last `window`. The result
  /// holds until the next append.
  Rows append(const at::Tensor& keys, const at::Tensor& values, int64_t window);

  /// Room for one more position of a batch of 1, in the buffers themselves: rows of (H, dh) lie side by side,
  /// the last of `count` is for the caller to fill. Forgets all but the last `window` and it. Holds until the
  /// next append. Needs a first append.
  struct OpenRow {
    void* keys;
    void* values;
    int64_t count;
  };
  OpenRow append_row(int64_t window);
  /// Whether append_row() may be called.
  bool takes_rows() const { return keys_.defined() && keys_.size(0) == 1; }

  /// The positions held, keys and values (B, P, H, dh); undefined before the first append.
  Rows held() const;
  /// A cache that holds these.
  static WindowCache holding(const Rows& rows);

  int64_t size_bytes() const;
  /// A copy that later appends to either do not change.
  WindowCache clone() const;

 private:
  void keep_last(const Rows& rows, int64_t count, int64_t capacity);

  // Rows begin_ .. begin_ + count_ of the buffers are in use. Short segments are written behind them; the
  // rows move to the front once in W positions, not once a position.
  at::Tensor keys_;
  at::Tensor values_;
  int64_t begin_ = 0;
  int64_t count_ = 0;
};

/// Visits "window.L.keys" and "window.L.values" (B, P, H, dh) of every layer L.
void visit_windows(std::vector<WindowCache>& windows,
                   const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor);

}  // namespace gca::model
