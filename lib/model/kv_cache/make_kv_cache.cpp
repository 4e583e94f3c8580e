#include "lib/model/kv_cache/make_kv_cache.h"

#include "lib/core/error.h"
#include "lib/model/kv_cache/citrus_cache.h"
#include "lib/model/kv_cache/full_cache.h"
#include "lib/model/kv_cache/recycled_cache.h"
#include "lib/model/kv_cache/sink_cache.h"
#include "lib/model/kv_cache/squeezed_cache.h"

namespace gca::model {

std::unique_ptr<KvCache> make_kv_cache(const ModelConfig& config, const KvPolicy& policy,
                                       at::ScalarType dtype) {
  policy.validate("--kv-policy");
  const AttentionSettings settings = AttentionSettings::of(config, dtype, policy.dtype);
  if (policy.name == "window") return std::make_unique<SinkCache>(settings, 0, policy.window);
  if (policy.name == "sink") return std::make_unique<SinkCache>(settings, policy.sinks, policy.window);
  if (policy.name == "squeezed") return std::make_unique<SqueezedCache>(settings, policy);
  if (policy.name == "recycled") return std::make_unique<RecycledCache>(settings, policy);
  if (policy.name == "citrus") return std::make_unique<CitrusCache>(settings, policy);
  return std::make_unique<FullCache>(settings);
}

}  // namespace gca::model
