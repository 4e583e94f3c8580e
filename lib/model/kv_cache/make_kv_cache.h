#pragma once
// The cache of a policy.

#include <ATen/core/ScalarType.h>

#include <memory>

#include "lib/model/kv_cache/kv_cache.h"
#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/model_config.h"

namespace gca::model {

/// An empty cache for a model of this configuration; `dtype`: the type of its statistics.
std::unique_ptr<KvCache> make_kv_cache(const ModelConfig& config, const KvPolicy& policy,
                                       at::ScalarType dtype = at::kFloat);

}  // namespace gca::model
