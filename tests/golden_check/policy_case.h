#pragma once
// Golden cases of cache policies, and of the attention that they rest on: a file whose metadata entry `case` is
// the JSON of its settings. The checkpoint that it names lies in a folder beside it.

#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

bool is_policy_case(const GoldenFile& golden);

/// Runs the case; results under the golden names. `jitter` as in model_case.h.
NamedTensors run_policy_case(const std::string& path, const GoldenFile& golden, at::ScalarType dtype,
                             uint64_t jitter = 0);

/// Largest absolute score of a case of attention alone, 0 for others: exp() turns its rounding into a relative
/// error of the probabilities.
double largest_attention_score(const GoldenFile& golden);

}  // namespace gca::golden
