#include "lib/model/kv_cache/key_clusters.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/argmin.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace gca::model {
namespace {

constexpr int kMostRounds = 300;

double squared_distance(const double* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t e = 0; e < count; ++e) sum += (a[e] - b[e]) * (a[e] - b[e]);
  return sum;
}

/// The points that are the first centres.
std::vector<int64_t> seeds_of(const at::Tensor& points, const std::vector<double>& uniform) {
  const int64_t n = points.size(0), e = points.size(1);
  const auto* x = points.const_data_ptr<double>();
  std::vector<int64_t> seeds;
  std::vector<double> nearest(static_cast<size_t>(n), std::numeric_limits<double>::infinity());
  for (const double u : uniform) {
    int64_t seed = 0;
    if (seeds.empty()) {
      seed = std::min(static_cast<int64_t>(u * static_cast<double>(n)), n - 1);
    } else {
      std::vector<double> running(static_cast<size_t>(n));
      double total = 0;
      for (size_t i = 0; i < running.size(); ++i) running[i] = total += nearest[i];
      const auto over =
          std::find_if(running.begin(), running.end(), [&](double sum) { return sum > u * total; });
      // Where all points lie on seeds, the first that is none.
      if (over == running.end())
        while (std::find(seeds.begin(), seeds.end(), seed) != seeds.end()) ++seed;
      else
        seed = over - running.begin();
    }
    seeds.push_back(seed);
    for (int64_t i = 0; i < n; ++i)
      nearest[static_cast<size_t>(i)] =
          std::min(nearest[static_cast<size_t>(i)], squared_distance(x + i * e, x + seed * e, e));
  }
  return seeds;
}

/// (n) labels: the nearest centre of each point, the lowest number of equals.
std::vector<int32_t> nearest_centres(const at::Tensor& points, const at::Tensor& centres) {
  // |x|^2 is the same for all centres of a point.
  const at::Tensor distance =
      (centres * centres).sum(1).unsqueeze(0) - 2 * at::matmul(points, centres.t());  // (n, C)
  const at::Tensor nearest = at::argmin(distance, 1).contiguous();
  const auto* numbers = nearest.const_data_ptr<int64_t>();
  return {numbers, numbers + nearest.numel()};
}

/// Means of the points of each label; where there are none, what `otherwise` has.
at::Tensor means_of(const at::Tensor& points, const std::vector<int32_t>& labels,
                    const at::Tensor& otherwise) {
  const int64_t C = otherwise.size(0), e = points.size(1);
  const at::Tensor sums = at::zeros({C, e}, at::kDouble);
  std::vector<int64_t> count(static_cast<size_t>(C), 0);
  const auto* x = points.const_data_ptr<double>();
  auto* sum = sums.mutable_data_ptr<double>();
  for (size_t i = 0; i < labels.size(); ++i) {
    const int64_t label = labels[i];
    ++count[static_cast<size_t>(label)];
    for (int64_t d = 0; d < e; ++d) sum[label * e + d] += x[static_cast<int64_t>(i) * e + d];
  }
  const auto* other = otherwise.const_data_ptr<double>();
  for (int64_t c = 0; c < C; ++c)
    for (int64_t d = 0; d < e; ++d) {
      double& value = sum[c * e + d];
      const int64_t points_of_c = count[static_cast<size_t>(c)];
      value = points_of_c > 0 ? value / static_cast<double>(points_of_c) : other[c * e + d];
    }
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

std::vector<int32_t> k_means(const at::Tensor& points_in, const std::vector<double>& uniform) {
  const at::Tensor points = points_in.contiguous();
  const std::vector<int64_t> seeds = seeds_of(points, uniform);
  at::Tensor centres = points.index_select(0, at::tensor(seeds, at::kLong)).contiguous();
  std::vector<int32_t> labels;
  for (int round = 0; round < kMostRounds; ++round) {
    std::vector<int32_t> nearest = nearest_centres(points, centres);
    if (nearest == labels) break;
    labels = std::move(nearest);
    centres = means_of(points, labels, centres);
  }
  return labels;
}

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
    clusters.centroids[h].copy_(means_of(points[h].contiguous(), labels, at::zeros({C, e}, at::kDouble)));
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

at::Tensor score_clusters(const ClusterQueries& queries, const KeyClusters& clusters,
                          const at::Tensor& sizes) {
  const int64_t kv_heads = clusters.centroids.size(0), C = clusters.count();
  const int64_t n = queries.q.size(0), group = queries.q.size(1) / kv_heads, dh = queries.q.size(2);
  const at::Tensor q = queries.q.to(at::kFloat).view({n, kv_heads, group, dh}).permute({1, 2, 0, 3});
  at::Tensor score = at::bmm(q.reshape({kv_heads, group * n, dh}), clusters.centroids.transpose(1, 2))
                         .view({kv_heads, group, n, C}) *
                     queries.scale;
  std::vector<double> places;
  for (int64_t i = 0; i < n; ++i) places.push_back(static_cast<double>(queries.last_place - n + 1 + i));
  const at::Tensor distance =
      at::tensor(places, at::kFloat).view({1, 1, n, 1}) - clusters.places.view({kv_heads, 1, 1, C});
  score = score - queries.slopes.to(at::kFloat).view({kv_heads, group, 1, 1}) * distance;
  at::Tensor total = at::logsumexp(score + at::log(sizes.to(at::kFloat)).view({kv_heads, 1, 1, C}), -1, true);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  total = total.masked_fill(total.eq(-kInfinity), kInfinity);  // no cluster: no score
  return at::amax(at::exp(score - total).mean(2), 1);
}

at::Tensor of_keys(const at::Tensor& of_clusters, const KeyClusters& clusters) {
  return of_clusters.gather(1, clusters.labels.to(at::kLong));
}

}  // namespace gca::model
