#include "lib/model/kv_cache/squeezed_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gt.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "kernels/common/philox.h"
#include "kernels/common/task_queue.h"

namespace gca::model {
namespace {

SqueezedCache::Draw drawn_by(uint64_t seed, int64_t kv_heads) {
  return [seed, kv_heads](size_t layer, int64_t head, int64_t count, bool coarse) {
    std::vector<double> numbers;
    const uint64_t row =
        (2 * static_cast<uint64_t>(layer) + (coarse ? 1 : 0)) * static_cast<uint64_t>(kv_heads) +
        static_cast<uint64_t>(head);
    for (int64_t c = 0; c < count; ++c) {
      const PhiloxBlock block =
          philox_block(seed, RandomStream::cluster_seeds, row, static_cast<uint64_t>(c));
      numbers.push_back(open_unit_double(block.word[0], block.word[1]));
    }
    return numbers;
  };
}

/// Linear between neighbours.
double quantile_of(std::vector<float> values, double quantile) {
  std::sort(values.begin(), values.end());
  const double place = quantile * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(std::floor(place));
  const size_t high = std::min(low + 1, values.size() - 1);
  const double below = values[low], above = values[high];
  return below + (above - below) * (place - std::floor(place));
}

/// (H_kv, m) int32: the keys j of each head h for which is_kept(h, j), rising, -1 behind a shorter list.
template <typename IsKept>
at::Tensor list_of(int64_t heads, int64_t keys, IsKept is_kept) {
  const at::Tensor all = at::empty({heads, keys + 1}, at::kInt);  // what is left out is overwritten
  std::vector<int64_t> count(static_cast<size_t>(heads), 0);
  kernels::run_tasks(heads, [&](kernels::TaskQueue& queue) {
    for (int64_t h; queue.take(h);) {
      auto* const first = all.mutable_data_ptr<int32_t>() + h * (keys + 1);
      auto* to = first;
      for (int64_t j = 0; j < keys; ++j) {
        *to = static_cast<int32_t>(j);
        to += is_kept(h, j) ? 1 : 0;
      }
      count[static_cast<size_t>(h)] = to - first;
    }
  });
  const int64_t longest = *std::max_element(count.begin(), count.end());
  at::Tensor list = at::full({heads, longest}, -1, at::kInt);
  for (int64_t h = 0; h < heads; ++h)
    std::copy_n(all.const_data_ptr<int32_t>() + h * (keys + 1), count[static_cast<size_t>(h)],
                list.mutable_data_ptr<int32_t>() + h * longest);
  return list;
}

/// A key's: of its cluster.
class OfCluster {
 public:
  /// of_clusters (H_kv, C) bool.
  OfCluster(const at::Tensor& of_clusters, const KeyClusters& clusters)
      : of_clusters_(of_clusters.contiguous()),
        values_(of_clusters_.const_data_ptr<bool>()),
        labels_(clusters.labels.const_data_ptr<int32_t>()),
        count_(clusters.count()),
        keys_(clusters.labels.size(1)) {}

  bool operator()(int64_t head, int64_t key) const {
    return values_[head * count_ + labels_[head * keys_ + key]];
  }

 private:
  at::Tensor of_clusters_;
  const bool* values_;
  const int32_t* labels_;
  int64_t count_, keys_;
};

}  // namespace

SqueezedCache::SqueezedCache(AttentionSettings settings, const KvPolicy& policy, Draw draw)
    : FullCache(std::move(settings)),
      policy_(policy),
      draw_(draw ? std::move(draw) : drawn_by(policy.seed, this->settings().kv_heads)),
      layers_(static_cast<size_t>(this->settings().layers)) {}

void SqueezedCache::begin_part(TextPart part) {
  if (in_prefix_ && part != TextPart::prefix) end_prefix();
  in_prefix_ = part == TextPart::prefix;
}

void SqueezedCache::end_prefix() {
  clustered_ = std::max<int64_t>(0, rows(0).count() - policy_.observed);
  if (clustered_ == 0) return;
  const int64_t kv_heads = settings().kv_heads;
  const auto fine_count =
      std::max<int64_t>(1, static_cast<int64_t>(policy_.cluster_fraction * static_cast<double>(clustered_)));
  const auto coarse_count = static_cast<int64_t>(policy_.coarse_fraction * static_cast<double>(clustered_));
  kernels::run_tasks(static_cast<int64_t>(layers_.size()), [&](kernels::TaskQueue& queue) {
    for (int64_t number; queue.take(number);) {
      const auto i = static_cast<size_t>(number);
      const auto draws = [&](int64_t count, bool coarse) {
        std::vector<std::vector<double>> numbers;
        for (int64_t h = 0; h < kv_heads; ++h) numbers.push_back(draw_(i, h, count, coarse));
        return numbers;
      };
      const at::Tensor keys =  // (H_kv, P', dh)
          rows(i).held().narrow(0, clustered_).restored(at::kFloat).keys[0].transpose(0, 1);
      layers_[i].fine = cluster_keys(keys, draws(fine_count, false));
      if (coarse_count > 0) layers_[i].coarse = cluster_centroids(layers_[i].fine, draws(coarse_count, true));
    }
  });
  threshold_ = calibrate(&Layer::fine, policy_.quantile);
  if (coarse_count > 0) coarse_threshold_ = calibrate(&Layer::coarse, policy_.coarse_quantile);
  for (Layer& layer : layers_) layer.last_queries = at::Tensor();
}

ClusterQueries SqueezedCache::queries_of(const at::Tensor& q, int64_t last_place) const {
  return {q, last_place, settings().slopes, settings().scale};
}

double SqueezedCache::calibrate(KeyClusters Layer::*clusters, double quantile) const {
  std::vector<float> scores;
  for (const Layer& layer : layers_) {
    const KeyClusters& own = layer.*clusters;
    const at::Tensor score =
        of_keys(score_clusters(queries_of(layer.last_queries, rows(0).count() - 1), own, own.sizes), own)
            .contiguous();
    scores.insert(scores.end(), score.const_data_ptr<float>(), score.const_data_ptr<float>() + score.numel());
  }
  return quantile_of(std::move(scores), quantile);
}

at::Tensor SqueezedCache::choose(const Layer& layer, const at::Tensor& q, int64_t last_place) const {
  const ClusterQueries queries = queries_of(q, last_place);
  const KeyClusters &fine = layer.fine, &coarse = layer.coarse;
  const int64_t kv_heads = settings().kv_heads, sinks = policy_.squeezed_sinks;
  if (!coarse.defined()) {
    const OfCluster of_fine(score_clusters(queries, fine, fine.sizes).gt(threshold_), fine);
    return list_of(kv_heads, clustered_,
                   [&](int64_t head, int64_t key) { return key < sinks || of_fine(head, key); });
  }
  const at::Tensor wanted = score_clusters(queries, coarse, coarse.sizes).gt(coarse_threshold_);
  // Fine clusters below dropped coarse ones do not count in the denominator, either.
  const at::Tensor sizes =
      at::zeros_like(fine.sizes)
          .scatter_add(1, fine.labels.to(at::kLong), of_keys(wanted, coarse).to(at::kInt));
  const OfCluster of_coarse(wanted, coarse);
  const OfCluster of_fine(score_clusters(queries, fine, sizes).gt(threshold_), fine);
  return list_of(kv_heads, clustered_, [&](int64_t head, int64_t key) {
    return key < sinks || (of_coarse(head, key) && of_fine(head, key));
  });
}

at::Tensor SqueezedCache::kept(size_t number) const {
  const at::Tensor& list = layers_[number].list;
  at::Tensor kept = at::zeros({list.size(0), clustered_}, at::kBool);
  for (int64_t h = 0; h < list.size(0); ++h)
    for (int64_t j = 0; j < list.size(1); ++j)
      if (const int32_t row = list.const_data_ptr<int32_t>()[h * list.size(1) + j]; row >= 0)
        kept.mutable_data_ptr<bool>()[h * clustered_ + row] = true;
  return kept;
}

at::Tensor SqueezedCache::attend(size_t number, const at::Tensor& q, const at::Tensor& k,
                                 const at::Tensor& v) {
  Layer& layer = layers_[number];
  const Appended appended = append(number, q, k, v);
  const at::Tensor& rotated = appended.q;
  if (in_prefix_) {
    at::Tensor last = rotated[0];
    if (layer.last_queries.defined()) last = at::cat({layer.last_queries, last});
    const int64_t observed = std::min(policy_.observed, last.size(0));
    layer.last_queries = last.narrow(0, last.size(0) - observed, observed).clone();
  }
  if (in_prefix_ || clustered_ == 0) return read_all(number, appended);

  const int64_t count = rows(number).count();
  layer.list = choose(layer, rotated[0], count - 1);
  const auto* listed = layer.list.const_data_ptr<int32_t>();
  const auto read = static_cast<double>(
      std::count_if(listed, listed + layer.list.numel(), [](int32_t row) { return row >= 0; }) +
      settings().kv_heads * (count - clustered_));
  const KeyClusters& first = layer.coarse.defined() ? layer.coarse : layer.fine;
  count_reads(number, rotated, read, static_cast<double>(first.centroids.nbytes()));
  return read_some(number, rotated, {layer.list, clustered_}).out.unsqueeze(0);
}

std::unique_ptr<KvCache> SqueezedCache::clone() const {
  // Clusters and queries are replaced, never written in place: sharing them is safe.
  return std::unique_ptr<KvCache>(new SqueezedCache(*this));
}

int64_t SqueezedCache::size_bytes() const {
  int64_t bytes = FullCache::size_bytes();
  for (const Layer& layer : layers_) bytes += layer.fine.size_bytes() + layer.coarse.size_bytes();
  return bytes;
}

void SqueezedCache::visit(const Visitor& visitor) {
  FullCache::visit(visitor);
  at::Tensor state =
      at::tensor(std::vector<double>{static_cast<double>(in_prefix_), static_cast<double>(clustered_),
                                     threshold_, coarse_threshold_},
                 at::kDouble);
  visitor("squeezed.state", state);
  in_prefix_ = state[0].item<double>() != 0;
  clustered_ = static_cast<int64_t>(state[1].item<double>());
  threshold_ = state[2].item<double>();
  coarse_threshold_ = state[3].item<double>();
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string name = "squeezed." + std::to_string(i);
    visitor(name + ".last_queries", layers_[i].last_queries);
    for (auto [level, clusters] :
         {std::pair(".fine", &layers_[i].fine), std::pair(".coarse", &layers_[i].coarse)}) {
      visitor(name + level + ".labels", clusters->labels);
      visitor(name + level + ".centroids", clusters->centroids);
      visitor(name + level + ".sizes", clusters->sizes);
      visitor(name + level + ".places", clusters->places);
    }
  }
}

}  // namespace gca::model
