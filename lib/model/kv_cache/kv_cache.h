#pragma once
// Keys and values of all layers of one text, and the choice of which of them a query reads. A layer hands over
// queries, keys and values as they were projected; where they stand (rotation, ALiBi), which rows are kept and
// which are read is the cache's own. Nothing else of a model knows that there are policies (kv_policy.h).

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace gca::model {

/// The parts of a text, in order. A cache is told where they begin, and guesses nothing from lengths.
enum class TextPart {
  prefix,  ///< a fixed text that many inputs follow
  prompt,  ///< an input
  answer,  ///< tokens that are drawn, fed one by one
};

/// What queries that came alone have read, summed over layers.
struct KvReads {
  double rows = 0;         ///< pairs of a key and a value, of one key/value head each
  double rows_of_all = 0;  ///< what reading every earlier position would have taken
  double bytes = 0;        ///< of keys, values and what they were chosen by

  /// Of the rows that reading all would have taken.
  double share_read() const { return rows_of_all > 0 ? rows / rows_of_all : 0.0; }

  void add(double rows_read, double of_all, double bytes_per_row, double more_bytes = 0) {
    rows += rows_read;
    rows_of_all += of_all;
    bytes += rows_read * bytes_per_row + more_bytes;
  }
  KvReads& operator+=(const KvReads& other) {
    rows += other.rows;
    rows_of_all += other.rows_of_all;
    bytes += other.bytes;
    return *this;
  }
};

class KvCache {
 public:
  using Visitor = std::function<void(const std::string& name, at::Tensor& tensor)>;

  virtual ~KvCache() = default;

  /// Appends n positions to a layer and attends with their queries: q (B, n, H, dh), k and v (B, n, H_kv, dh),
  /// not rotated -> (B, n, H, dh). Layers take turns, in order. Without gradients.
  virtual at::Tensor attend(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) = 0;

  /// What is appended from now on is this part of the text. A text begins with its prompt.
  virtual void begin_part(TextPart /*part*/) {}
  /// True while what is run serves to choose rows by, and is not part of the text.
  virtual bool is_trial() const { return false; }

  /// A copy that later runs of either do not change.
  virtual std::unique_ptr<KvCache> clone() const = 0;
  virtual int64_t size_bytes() const = 0;
  /// Visits every tensor under a stable name, as Past::visit().
  virtual void visit(const Visitor& visitor) = 0;

  const KvReads& reads() const { return reads_; }
  void reset_reads() { reads_ = {}; }

 protected:
  KvCache() = default;
  KvCache(const KvCache&) = default;
  KvCache& operator=(const KvCache&) = default;

  KvReads reads_;
};

}  // namespace gca::model
