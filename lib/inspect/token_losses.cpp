#include "lib/inspect/token_losses.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <utility>

#include "lib/model/text_feeder.h"

namespace gca::inspect {

std::vector<float> token_losses(const model::LanguageModel& model, std::span<const int32_t> text,
                                model::Retriever retriever, int64_t segment_positions,
                                std::unique_ptr<model::Past> past) {
  model::ForwardOptions options;
  options.retriever = retriever;
  model::TextFeeder feeder(model, options, segment_positions);
  if (past) feeder.start_from(std::move(past));
  const int64_t past_tokens = feeder.text_count();
  std::vector<float> losses(text.size(), 0.0F);
  feeder.feed(text, [&](const at::Tensor& hidden, int64_t first_text) {
    const at::NoGradGuard no_grad;
    const int64_t m = hidden.size(1);
    const at::Tensor targets = at::empty({1, m}, at::kLong);
    auto* target = targets.mutable_data_ptr<int64_t>();
    const auto next = [&](int64_t j) { return static_cast<size_t>(first_text - past_tokens + j + 1); };
    for (int64_t j = 0; j < m; ++j) target[j] = next(j) < text.size() ? text[next(j)] : -1;
    const at::Tensor per_target =
        model.loss(hidden, targets.to(hidden.device())).per_target.to(at::kCPU).contiguous();
    for (int64_t j = 0; j < m; ++j)
      if (next(j) < text.size()) losses[next(j)] = per_target.const_data_ptr<float>()[j];
  });
  return losses;
}

}  // namespace gca::inspect
