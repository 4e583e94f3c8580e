#pragma once
// CItruS (Bai et al., EMNLP 2024, arXiv 2406.12018): a text of any length is read in chunks into a cache that
// keeps the rows which the instruction (single, dual) or the newest chunk (standard) wanted most, the same rows
// for all heads of a layer, and the newest chunk whole. Places are those in the cache: keys are kept unrotated,
// and a rotated copy is made anew when rows go. citrus_reading.h says in which order a text is run.

#include <vector>

#include "lib/model/kv_cache/attention_settings.h"
#include "lib/model/kv_cache/kv_cache.h"
#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/kv_cache/kv_store.h"

namespace gca::model {

class CitrusCache final : public KvCache {
 public:
  CitrusCache(AttentionSettings settings, const KvPolicy& policy);

  at::Tensor attend(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  bool is_trial() const override { return is_trial_; }
  std::unique_ptr<KvCache> clone() const override;
  int64_t size_bytes() const override;
  void visit(const Visitor& visitor) override;

  const KvPolicy& policy() const { return policy_; }

  /// Until end_trial(), what is run reads the rows that the instruction chooses among, notes how much it wants
  /// each, and is thrown away.
  void begin_trial();
  void end_trial() { is_trial_ = false; }
  /// What is run next is a chunk of the context.
  void begin_chunk();
  /// The chunk joins what is kept of the rows before it; `is_first`: there are none.
  void end_chunk(bool is_first);
  /// Keeps what the last trial wanted. From now on what is run is appended, and nothing goes.
  void keep_wanted();

  /// (m) int64: the tokens of the text whose rows the instruction reads, in order.
  std::vector<int64_t> tokens(size_t layer) const;

 private:
  /// Rows of one layer in the order of the text.
  struct Store {
    RowHistory unrotated;  // keys (1, m, H_kv, dh)
    KvStore rows;          // rotated at their places here
    std::vector<int64_t> tokens;
  };
  struct Layer {
    Store reading;                                      // what the context is run on
    Store asking;                                       // of dual: what the instruction chooses among
    at::Tensor wanted_by_instruction, wanted_by_chunk;  // (rows before what was run) float32
  };

  bool is_dual() const { return policy_.citrus_mode == "dual"; }
  Store empty_store() const { return {{}, KvStore(settings_.kv_dtype), {}}; }
  /// What the instruction and the answer read.
  Store& asked(Layer& layer) const { return is_dual() && !is_answering_ ? layer.asking : layer.reading; }
  /// k (1, n, H_kv, dh), unrotated; rows: the same as they are kept, rotated at the next places.
  static void append(Store& store, const at::Tensor& k, const StoredRows& rows, int64_t first_token);
  void keep(Store& store, int64_t among, const at::Tensor& wanted) const;

  AttentionSettings settings_;
  KvPolicy policy_;
  bool is_trial_ = false;
  bool in_chunk_ = false;
  bool is_answering_ = false;
  int64_t seen_ = 0;         // tokens of the text
  int64_t chunk_begin_ = 0;  // rows of the reading store before the newest chunk
  std::vector<Layer> layers_;
};

}  // namespace gca::model
