#pragma once
// Keys and values of one layer, as many as were appended: rows side by side in buffers that grow by pages.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace gca::model {

class KvRows {
 public:
  /// keys and values (B, n, H_kv, dh).
  void append(const at::Tensor& keys, const at::Tensor& values);
  /// Keeps the first `count`.
  void truncate(int64_t count);

  int64_t count() const { return count_; }
  /// (B, count, H_kv, dh), a view until the next append; undefined before the first.
  at::Tensor keys() const { return of(keys_); }
  at::Tensor values() const { return of(values_); }

  int64_t size_bytes() const;
  KvRows clone() const;
  /// Visits "NAME.keys" and "NAME.values"; what the visitor sets replaces all rows.
  void visit(const std::string& name,
             const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor);

 private:
  at::Tensor of(const at::Tensor& buffer) const {
    return buffer.defined() ? buffer.narrow(1, 0, count_) : buffer;
  }
  void make_room(const at::Tensor& like, int64_t rows);

  at::Tensor keys_, values_;  // (B, capacity, H_kv, dh)
  int64_t count_ = 0;
};

std::vector<KvRows> clones_of(const std::vector<KvRows>& layers);
int64_t size_bytes(const std::vector<KvRows>& layers);
/// Visits "kv.L.keys" and "kv.L.values" of every layer L.
void visit_rows(std::vector<KvRows>& layers,
                const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor);

}  // namespace gca::model
