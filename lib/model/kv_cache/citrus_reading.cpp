#include "lib/model/kv_cache/citrus_reading.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <vector>

namespace gca::model {

at::Tensor CitrusReading::run(std::span<const int32_t> tokens) const {
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> ids(tokens.begin(), tokens.end());
  return model_.forward(at::tensor(ids, at::kLong).unsqueeze(0), past_, {});
}

void CitrusReading::ask() const {
  cache_.begin_trial();
  run(instruction_);
  cache_.end_trial();
}

void CitrusReading::read_context(std::span<const int32_t> context) const {
  const bool asks = cache_.policy().citrus_mode != "standard";
  for (bool is_first = true; !context.empty(); is_first = false) {
    const auto chunk = context.first(std::min(static_cast<size_t>(cache_.policy().chunk), context.size()));
    context = context.subspan(chunk.size());
    if (asks && !is_first) ask();
    cache_.begin_chunk();
    run(chunk);
    cache_.end_chunk(is_first);
  }
}

void CitrusReading::choose() const {
  ask();
  cache_.keep_wanted();
}

at::Tensor CitrusReading::read_instruction() const {
  const at::Tensor hidden = run(instruction_);
  return hidden.narrow(1, hidden.size(1) - 1, 1);
}

}  // namespace gca::model
