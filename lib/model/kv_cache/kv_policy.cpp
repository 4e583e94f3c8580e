#include "lib/model/kv_cache/kv_policy.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/model/setting_checks.h"

namespace gca::model {

const std::vector<std::string>& kv_policy_names() {
  static const std::vector<std::string> names = {"full", "window", "sink", "squeezed", "recycled", "citrus"};
  return names;
}

void KvPolicy::validate(const std::string& where) const {
  const std::vector<std::string>& names = kv_policy_names();
  require_setting(std::find(names.begin(), names.end(), name) != names.end(), where,
                  fmt::format("there is no cache policy \"{}\"", name),
                  fmt::format("use {}", fmt::join(names, ", ")));
  require_positive(window, "the window", where);
  for (const int64_t first : {sinks, squeezed_sinks})
    require_setting(is_size(first), where, fmt::format("the number of sinks is {}", first), "give 0 or more");
  require_setting(cluster_fraction > 0 && cluster_fraction <= 1, where,
                  fmt::format("the fraction of clusters is {}", cluster_fraction), "give 0.05, at most 1");
  require_setting(coarse_fraction >= 0 && coarse_fraction <= cluster_fraction, where,
                  fmt::format("the fraction of coarse clusters is {}", coarse_fraction),
                  "give 0, or less than that of clusters");
  for (const double share : {quantile, coarse_quantile})
    require_setting(share >= 0 && share <= 1, where, fmt::format("a quantile is {}", share), "give 0 to 1");
  require_positive(observed, "the number of observed tokens", where);
  require_setting(is_size(recycled_rows), where, fmt::format("the list's length is {}", recycled_rows),
                  "give 0 for an eighth of the prompt");
  require_positive(stride, "the stride", where);
  require_setting(is_size(pool) && pool % 2 == 1, where, fmt::format("the pooled width is {}", pool),
                  "give an odd number");
  require_setting(citrus_mode == "single" || citrus_mode == "dual" || citrus_mode == "standard", where,
                  fmt::format("there is no mode \"{}\" of citrus", citrus_mode),
                  "use single, dual or standard");
  require_positive(chunk, "the chunk", where);
  require_positive(kept, "the number of kept rows", where);
}

nlohmann::ordered_json kv_policy_to_json(const KvPolicy& policy) {
  nlohmann::ordered_json json = {{"name", policy.name}};
  if (policy.dtype == KvDtype::int8) json["dtype"] = "int8";
  if (policy.name == "window" || policy.name == "sink") json["window"] = policy.window;
  if (policy.name == "sink") json["sinks"] = policy.sinks;
  if (policy.name == "squeezed") {
    json["sinks"] = policy.squeezed_sinks;
    json["clusters"] = policy.cluster_fraction;
    json["quantile"] = policy.quantile;
    json["observed"] = policy.observed;
    json["coarse_clusters"] = policy.coarse_fraction;
    json["coarse_quantile"] = policy.coarse_quantile;
    json["seed"] = policy.seed;
  }
  if (policy.name == "recycled") {
    json["rows"] = policy.recycled_rows;
    json["stride"] = policy.stride;
    json["similarity"] = policy.similarity;
    json["pool"] = policy.pool;
  }
  if (policy.name == "citrus") {
    json["mode"] = policy.citrus_mode;
    json["chunk"] = policy.chunk;
    json["kept"] = policy.kept;
  }
  return json;
}

}  // namespace gca::model
