#pragma once
// Clusters of the keys of one layer's prefix, and how much a query may want each of them (Squeezed Attention,
// Hooper et al., arXiv 2411.09688).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace gca::model {

struct KeyClusters {
  at::Tensor labels;     ///< (H_kv, P') int32: the cluster of each key
  at::Tensor centroids;  ///< (H_kv, C, e) float32: the mean of its points, 0 where it has none
  at::Tensor sizes;      ///< (H_kv, C) int32: its keys
  at::Tensor places;     ///< (H_kv, C) float32: the mean place of its keys, 0 where it has none

  bool defined() const { return labels.defined(); }
  int64_t count() const { return centroids.size(1); }
  int64_t size_bytes() const;
};

/// Clusters points (H_kv, n, e) by their directions; uniform[h] (C). Runs in the caller's thread.
KeyClusters cluster_keys(const at::Tensor& points, const std::vector<std::vector<double>>& uniform);

/// Clusters the centroids of `fine`; labels, sizes and places are of the keys.
KeyClusters cluster_centroids(const KeyClusters& fine, const std::vector<std::vector<double>>& uniform);

/// Queries (n, H, dh), rotated, the last of which stands at `last_place`.
struct ClusterQueries {
  at::Tensor q;
  int64_t last_place;
  at::Tensor slopes;  ///< (H), 0 where positions are rotated
  double scale;
};

/// (H_kv, C) float32: the estimated attention of one key of each cluster, the mean over the queries, the largest
/// of the heads that share it. `sizes` (H_kv, C): keys that count in the denominator.
at::Tensor score_clusters(const ClusterQueries& queries, const KeyClusters& clusters,
                          const at::Tensor& sizes);

/// (H_kv, P') from (H_kv, C): of the cluster of each key.
at::Tensor of_keys(const at::Tensor& of_clusters, const KeyClusters& clusters);

}  // namespace gca::model
