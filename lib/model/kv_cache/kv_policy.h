#pragma once
// Which rows of a cache queries read, and which it keeps: the settings of --kv-policy, and the choice of the
// cache that does it. docs/cache-policies.md says what each policy is.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gca::model {

/// What keys and values are kept in: the type they were computed in, or int8 with a step size for each row and head.
enum class KvDtype { compute, int8 };

struct KvPolicy {
  std::string name = "full";  ///< one of kv_policy_names()
  KvDtype dtype = KvDtype::compute;
  /// Everything is kept as it was computed, and read, which needs no policy.
  bool is_plain() const { return name == "full" && dtype == KvDtype::compute; }

  // window and sink
  int64_t window = 4092;  ///< last tokens that a query reads, itself among them
  int64_t sinks = 4;      ///< first tokens that it reads, too; of sink

  // squeezed
  int64_t squeezed_sinks = 0;      ///< first tokens that are read whatever their cluster; the paper has none
  double cluster_fraction = 0.05;  ///< clusters a clustered key of the prefix
  double quantile = 0.9;           ///< share of the keys that the threshold drops, of the observed queries
  int64_t observed = 100;      ///< last tokens of the prefix, whose queries set the threshold; never dropped
  double coarse_fraction = 0;  ///< coarse clusters a clustered key; 0: one level
  double coarse_quantile = 0.5;  ///< of the coarse clusters
  uint64_t seed = 0;             ///< of the clusters' first centres

  // recycled
  int64_t recycled_rows = 0;  ///< K: rows of a short list; 0: an eighth of the prompt
  int64_t stride = 5;         ///< S: a step in so many may read all
  double similarity = 0.85;   ///< it reads all where the cosine of the queries is at most this; 1: always
  int64_t pool = 7;           ///< width of the maximum over neighbours, odd

  // citrus
  std::string citrus_mode = "single";  ///< single, dual or standard
  int64_t chunk = 256;                 ///< tokens of a chunk of the context
  int64_t kept = 768;                  ///< rows kept of what was read before

  /// Throws Error(usage) naming `where`.
  void validate(const std::string& where) const;
};

/// Its name and the settings that it looks at.
nlohmann::ordered_json kv_policy_to_json(const KvPolicy& policy);

/// "full", "window", "sink", "squeezed", "recycled", "citrus".
const std::vector<std::string>& kv_policy_names();

}  // namespace gca::model
