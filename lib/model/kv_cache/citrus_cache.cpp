#include "lib/model/kv_cache/citrus_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "kernels/indexed_attention/indexed_attention.h"
#include "lib/model/kv_cache/best_rows.h"
#include "lib/model/kv_cache/read_all_rows.h"

namespace gca::model {

CitrusCache::CitrusCache(AttentionSettings settings, const KvPolicy& policy)
    : settings_(std::move(settings)),
      policy_(policy),
      layers_(static_cast<size_t>(settings_.layers), {empty_store(), empty_store(), {}, {}}) {}

void CitrusCache::begin_trial() {
  is_trial_ = true;
  in_chunk_ = false;
}

void CitrusCache::begin_chunk() {
  in_chunk_ = true;
  chunk_begin_ = layers_.front().reading.rows.count();
}

void CitrusCache::append(Store& store, const at::Tensor& k, const StoredRows& rows, int64_t first_token) {
  store.rows.append(rows);
  store.unrotated.append(k);
  for (int64_t i = 0; i < k.size(1); ++i) store.tokens.push_back(first_token + i);
}

at::Tensor CitrusCache::attend(size_t number, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  TORCH_CHECK(q.size(0) == 1, "a policy's choice of rows is of one text");
  Layer& layer = layers_[number];
  Store& store = in_chunk_ ? layer.reading : asked(layer);
  const int64_t before = store.rows.count(), n = q.size(1);
  const at::Tensor rotated = settings_.angles->turn(q, before);
  const StoredRows rows = StoredRows::kept_in(settings_.kv_dtype, settings_.angles->turn(k, before), v);
  if (is_trial_)
    store.rows.append(rows);
  else
    append(store, k, rows, seen_);
  const bool is_last_layer = number + 1 == layers_.size();
  if (!is_trial_ && is_last_layer) seen_ += n;

  const bool notes = is_trial_ || (in_chunk_ && policy_.citrus_mode != "single");
  at::Tensor out;
  if (notes) {
    const kernels::IndexedAttention read =
        kernels::indexed_attention(rotated[0], store.rows.held().of_text(), {}, settings_.slopes,
                                   settings_.scale, /*with_column_sums=*/true);
    out = read.out.unsqueeze(0);
    const at::Tensor wanted = read.column_sums.narrow(1, 0, before).sum(0).to(at::kFloat);
    at::Tensor& sums = is_trial_ ? layer.wanted_by_instruction : layer.wanted_by_chunk;
    // Of what comes in several runs the first sees the same rows, and adds up.
    sums = in_chunk_ && before > chunk_begin_ ? sums + wanted.narrow(0, 0, chunk_begin_) : wanted;
  } else {
    out = read_all_rows(rotated, store.rows.held(), settings_);
  }
  if (is_trial_) store.rows.truncate(before);
  if (n == 1 && !is_trial_ && !in_chunk_) {
    reads_.add(static_cast<double>(store.rows.count() * settings_.kv_heads),
               static_cast<double>((is_last_layer ? seen_ : seen_ + n) * settings_.kv_heads),
               settings_.bytes_per_row(q.scalar_type()));
  }
  return out;
}

void CitrusCache::keep(Store& store, int64_t among, const at::Tensor& wanted_in) const {
  if (store.rows.count() == 0) return;
  const at::Tensor wanted = wanted_in.contiguous();
  std::vector<int64_t> order =
      best_rows(wanted.const_data_ptr<float>(), among, std::min(policy_.kept, among));
  std::sort(order.begin(), order.end());
  for (int64_t row = among; row < store.rows.count(); ++row) order.push_back(row);
  const at::Tensor rows = at::tensor(order, at::kLong);
  store.unrotated = RowHistory::holding(store.unrotated.held().index_select(1, rows));
  std::vector<int64_t> tokens;
  for (const int64_t row : order) tokens.push_back(store.tokens[static_cast<size_t>(row)]);
  store.tokens = std::move(tokens);
  const StoredRows kept =
      store.rows.held().chosen(rows).with_keys(settings_.angles->turn(store.unrotated.held(), 0));
  store.rows = KvStore(settings_.kv_dtype);
  store.rows.append(kept);
}

void CitrusCache::end_chunk(bool is_first) {
  in_chunk_ = false;
  for (Layer& layer : layers_) {
    Store& reading = layer.reading;
    if (is_dual()) {
      // The rows that the instruction wants, then the chunk as it was computed on the others.
      const int64_t chunk = reading.rows.count() - chunk_begin_;
      if (!is_first) keep(layer.asking, layer.asking.rows.count(), layer.wanted_by_instruction);
      const at::Tensor keys = reading.unrotated.held().narrow(1, chunk_begin_, chunk);
      append(layer.asking, keys,
             reading.rows.held()
                 .narrow(chunk_begin_, chunk)
                 .with_keys(settings_.angles->turn(keys, layer.asking.rows.count())),
             seen_ - chunk);
    }
    if (!is_first)
      keep(reading, chunk_begin_,
           policy_.citrus_mode == "single" ? layer.wanted_by_instruction : layer.wanted_by_chunk);
  }
}

void CitrusCache::keep_wanted() {
  for (Layer& layer : layers_) {
    Store& store = asked(layer);
    keep(store, store.rows.count(), layer.wanted_by_instruction);
    if (is_dual()) layer.reading = std::move(layer.asking);
    layer.asking = empty_store();
    layer.wanted_by_instruction = layer.wanted_by_chunk = at::Tensor();
  }
  is_answering_ = true;
}

std::vector<int64_t> CitrusCache::tokens(size_t number) const {
  const Layer& layer = layers_[number];
  return is_dual() && !is_answering_ ? layer.asking.tokens : layer.reading.tokens;
}

std::unique_ptr<KvCache> CitrusCache::clone() const {
  auto copy = std::make_unique<CitrusCache>(settings_, policy_);
  copy->reads_ = reads_;
  copy->is_answering_ = is_answering_;
  copy->seen_ = seen_;
  const auto clone_of = [](const Store& store) {
    return Store{store.unrotated.clone(), store.rows.clone(), store.tokens};
  };
  for (size_t i = 0; i < layers_.size(); ++i) {
    copy->layers_[i] = layers_[i];
    copy->layers_[i].reading = clone_of(layers_[i].reading);
    copy->layers_[i].asking = clone_of(layers_[i].asking);
  }
  return copy;
}

int64_t CitrusCache::size_bytes() const {
  int64_t bytes = 0;
  for (const Layer& layer : layers_)
    for (const Store* store : {&layer.reading, &layer.asking})
      bytes += store->rows.size_bytes() + store->unrotated.size_bytes();
  return bytes;
}

void CitrusCache::visit(const Visitor& visitor) {
  at::Tensor state = at::tensor(
      std::vector<double>{static_cast<double>(seen_), static_cast<double>(is_answering_)}, at::kDouble);
  visitor("citrus.state", state);
  seen_ = static_cast<int64_t>(state[0].item<double>());
  is_answering_ = state[1].item<double>() != 0;
  for (size_t i = 0; i < layers_.size(); ++i)
    for (auto [name, store] :
         {std::pair(".reading", &layers_[i].reading), std::pair(".asking", &layers_[i].asking)}) {
      const std::string prefix = "citrus." + std::to_string(i) + name;
      at::Tensor keys = store->unrotated.held(), tokens;
      StoredRows rows = store->rows.held();
      if (keys.defined()) tokens = at::tensor(store->tokens, at::kLong).to(at::kDouble);
      visitor(prefix + ".keys", keys);
      visitor(prefix + ".values", rows.values);
      if (settings_.kv_dtype == KvDtype::int8) visitor(prefix + ".value_scales", rows.value_scales);
      visitor(prefix + ".tokens", tokens);
      *store = empty_store();
      if (!keys.defined()) continue;
      store->unrotated = RowHistory::holding(keys);
      store->rows.append(rows.with_keys(settings_.angles->turn(keys, 0)));
      const at::Tensor numbers = tokens.to(at::kLong).contiguous();
      const auto* number = numbers.const_data_ptr<int64_t>();
      store->tokens.assign(number, number + numbers.numel());
    }
}

}  // namespace gca::model
