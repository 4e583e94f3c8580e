#pragma once
// Which rows a policy keeps.

#include <cstdint>
#include <vector>

namespace gca::model {

/// The `kept` (at most `count`) rows of the greatest scores, the greatest first; of equals the newer first.
std::vector<int64_t> best_rows(const float* score, int64_t count, int64_t kept);

}  // namespace gca::model
