#include "lib/model/kv_cache/key_clusters.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "kernels/common/task_queue.h"
#include "kernels/common/tile_kernels.h"
#include "lib/model/kv_cache/k_means.h"

namespace gca::model {
namespace {

/// (C, e) means of the points of each label, 0 where there are none.
at::Tensor means_of(const at::Tensor& points, const std::vector<int32_t>& labels, int64_t C) {
  const int64_t e = points.size(1);
  const at::Tensor sums = at::zeros({C, e}, at::kDouble);
  std::vector<int64_t> count(static_cast<size_t>(C), 0);
  const auto* x = points.const_data_ptr<double>();
  auto* sum = sums.mutable_data_ptr<double>();
  for (size_t i = 0; i < labels.size(); ++i) {
    const int64_t label = labels[i];
    ++count[static_cast<size_t>(label)];
    for (int64_t d = 0; d < e; ++d) sum[label * e + d] += x[static_cast<int64_t>(i) * e + d];
  }
  for (int64_t c = 0; c < C; ++c)
    for (int64_t d = 0; d < e; ++d)
      sum[c * e + d] /= static_cast<double>(std::max<int64_t>(1, count[static_cast<size_t>(c)]));
  return sums;
}

/// (H_kv, C) from keys: how many have each label, and the mean of their places.
void count_keys(KeyClusters& clusters) {
  const int64_t heads = clusters.labels.size(0), keys = clusters.labels.size(1), C = clusters.count();
  clusters.sizes = at::zeros({heads, C}, at::kInt);
  at::Tensor places = at::zeros({heads, C}, at::kDouble);
  const auto* label = clusters.labels.const_data_ptr<int32_t>();
  auto* size = clusters.sizes.mutable_data_ptr<int32_t>();
  auto* place = places.mutable_data_ptr<double>();
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t c = h * C + label[h * keys + j];
      ++size[c];
      place[c] += static_cast<double>(j);
    }
  for (int64_t c = 0; c < heads * C; ++c) place[c] /= std::max(1, size[c]);
  clusters.places = places.to(at::kFloat);
}

}  // namespace

int64_t KeyClusters::size_bytes() const {
  return defined()
             ? static_cast<int64_t>(labels.nbytes() + centroids.nbytes() + sizes.nbytes() + places.nbytes())
             : 0;
}

KeyClusters cluster_keys(const at::Tensor& points_in, const std::vector<std::vector<double>>& uniform) {
  const at::Tensor points = points_in.to(at::kDouble).contiguous();  // (H_kv, n, e)
  const int64_t heads = points.size(0), n = points.size(1), e = points.size(2);
  const auto C = static_cast<int64_t>(uniform.front().size());
  KeyClusters clusters;
  clusters.labels = at::empty({heads, n}, at::kInt);
  clusters.centroids = at::empty({heads, C, e}, at::kFloat);
  for (int64_t h = 0; h < heads; ++h) {
    const at::Tensor length = (points[h] * points[h]).sum(1, true).sqrt().clamp_min(1e-12);
    const std::vector<int32_t> labels = k_means(points[h] / length, uniform[static_cast<size_t>(h)]);
    std::copy(labels.begin(), labels.end(), clusters.labels.mutable_data_ptr<int32_t>() + h * n);
    clusters.centroids[h].copy_(means_of(points[h].contiguous(), labels, C));
  }
  count_keys(clusters);
  return clusters;
}

KeyClusters cluster_centroids(const KeyClusters& fine, const std::vector<std::vector<double>>& uniform) {
  KeyClusters coarse = cluster_keys(fine.centroids, uniform);
  coarse.labels = of_keys(coarse.labels, fine).contiguous();
  count_keys(coarse);
  return coarse;
}

namespace {

/// Adds exp(s_c) / sum_j N_j exp(s_j) of each cluster to `sum`; s (C) is overwritten. Clusters without keys get 0.
void add_shares(float* score, const int32_t* sizes, int64_t C, float* sum) {
  for (int64_t c = 0; c < C; ++c)
    if (sizes[c] == 0) score[c] = kernels::kMaskedScore;
  float largest = -std::numeric_limits<float>::infinity(), plain_sum = 0;
  kernels::tile_kernels().softmax_row(C, score, 1.0F, 0.0F, 0.0F, &largest, &plain_sum);
  float total = 0;
  for (int64_t c = 0; c < C; ++c) total += static_cast<float>(sizes[c]) * score[c];
  if (total > 0)
    for (int64_t c = 0; c < C; ++c) sum[c] += score[c] / total;
}

}  // namespace

at::Tensor score_clusters(const ClusterQueries& queries, const KeyClusters& clusters,
                          const at::Tensor& sizes_in) {
  const int64_t kv_heads = clusters.centroids.size(0), C = clusters.count();
  const int64_t n = queries.q.size(0), group = queries.q.size(1) / kv_heads, dh = queries.q.size(2);
  const at::Tensor q = queries.q.to(at::kFloat).contiguous(), sizes = sizes_in.contiguous();
  const at::Tensor slopes = queries.slopes.to(at::kFloat).contiguous();
  const at::Tensor wanted = at::zeros({kv_heads, C}, at::kFloat);
  const auto scale = static_cast<float>(queries.scale);
  kernels::run_tasks(kv_heads, [&](kernels::TaskQueue& queue) {
    std::vector<float> score(static_cast<size_t>(C)), mean(score.size());
    for (int64_t h; queue.take(h);) {
      auto* largest = wanted.mutable_data_ptr<float>() + h * C;
      const auto* place = clusters.places.const_data_ptr<float>() + h * C;
      for (int64_t a = h * group; a < (h + 1) * group; ++a) {
        const float slope = slopes.const_data_ptr<float>()[a];
        std::fill(mean.begin(), mean.end(), 0.0F);
        for (int64_t i = 0; i < n; ++i) {
          kernels::tile_kernels().row_products(
              C, dh, q.const_data_ptr<float>() + (i * kv_heads * group + a) * dh,
              clusters.centroids.const_data_ptr<float>() + h * C * dh, dh, score.data());
          const auto from = static_cast<float>(queries.last_place - n + 1 + i);
          for (int64_t c = 0; c < C; ++c) {
            float& one = score[static_cast<size_t>(c)];
            one = one * scale - slope * (from - place[c]);
          }
          add_shares(score.data(), sizes.const_data_ptr<int32_t>() + h * C, C, mean.data());
        }
        for (int64_t c = 0; c < C; ++c)
          largest[c] = std::max(largest[c], mean[static_cast<size_t>(c)] / static_cast<float>(n));
      }
    }
  });
  return wanted;
}

at::Tensor of_keys(const at::Tensor& of_clusters, const KeyClusters& clusters) {
  return of_clusters.gather(1, clusters.labels.to(at::kLong));
}

}  // namespace gca::model
