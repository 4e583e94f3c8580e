#include "lib/eval/policy_reader.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "lib/core/seconds_since.h"
#include "lib/model/kv_cache/kv_session.h"
#include "lib/model/kv_cache/recycled_cache.h"
#include "lib/model/text_feeder.h"

namespace gca::eval {
namespace {

double ratio(double part, double whole) {
  return whole > 0 ? part / whole : 0.0;
}

}  // namespace

double StepCost::ms_per_step() const {
  return 1e3 * ratio(seconds, static_cast<double>(steps));
}

double StepCost::bytes_per_step() const {
  return ratio(reads.bytes, static_cast<double>(steps));
}

double StepCost::share_of_full_steps() const {
  if (full_steps.empty()) return 1.0;
  const auto full = static_cast<double>(std::accumulate(full_steps.begin(), full_steps.end(), int64_t{0}));
  return ratio(full, static_cast<double>(steps) * static_cast<double>(full_steps.size()));
}

StepCost& StepCost::operator+=(const StepCost& other) {
  steps += other.steps;
  seconds += other.seconds;
  prompt_seconds += other.prompt_seconds;
  reads += other.reads;
  cache_bytes = std::max(cache_bytes, other.cache_bytes);
  full_steps.resize(std::max(full_steps.size(), other.full_steps.size()));
  for (size_t layer = 0; layer < other.full_steps.size(); ++layer)
    full_steps[layer] += other.full_steps[layer];
  return *this;
}

nlohmann::json to_json(const StepCost& cost) {
  return {{"steps", cost.steps},
          {"seconds", cost.seconds},
          {"prompt_seconds", cost.prompt_seconds},
          {"rows", cost.reads.rows},
          {"rows_of_all", cost.reads.rows_of_all},
          {"bytes", cost.reads.bytes},
          {"cache_bytes", cost.cache_bytes},
          {"full_steps", cost.full_steps}};
}

StepCost step_cost_of(const nlohmann::json& json) {
  StepCost cost;
  cost.steps = json["steps"];
  cost.seconds = json["seconds"];
  cost.prompt_seconds = json["prompt_seconds"];
  cost.reads.rows = json["rows"];
  cost.reads.rows_of_all = json["rows_of_all"];
  cost.reads.bytes = json["bytes"];
  cost.cache_bytes = json["cache_bytes"];
  cost.full_steps = json["full_steps"].get<std::vector<int64_t>>();
  return cost;
}

void PolicyReader::read(std::span<const int32_t> prompt, int64_t question_tokens,
                        std::span<const int32_t> answer, const Sink& sink) {
  const at::NoGradGuard no_grad;
  std::vector<int32_t> text = options_.start_tokens;
  text.insert(text.end(), prompt.begin(), prompt.end());
  auto start = std::chrono::steady_clock::now();
  const auto interrupted = [this] {
    if (options_.progress) options_.progress();
    return false;
  };
  model::ReadText read = model::read_text(model_, options_.policy, text, question_tokens,
                                          options_.segment_positions, interrupted);
  model::KvCache& cache = *read.feeder.past().kv_cache();
  cache.reset_reads();
  StepCost cost;
  cost.prompt_seconds = seconds_since(start);

  start = std::chrono::steady_clock::now();
  at::Tensor hidden = read.hidden;
  for (size_t i = 0; i < answer.size(); ++i) {
    sink(model_.logits(hidden.select(1, 0)).to(at::kCPU, at::kFloat).select(0, 0));
    if (i + 1 == answer.size()) break;
    read.feeder.feed(answer.subspan(i, 1), [&](const at::Tensor& rows, int64_t) { hidden = rows; });
  }
  cost.seconds = seconds_since(start);
  cost.steps = static_cast<int64_t>(answer.size()) - 1;

  cost.reads = cache.reads();
  cost.cache_bytes = cache.size_bytes();
  if (const auto* recycled = dynamic_cast<const model::RecycledCache*>(&cache)) {
    for (size_t layer = 0; layer < recycled->layer_count(); ++layer)
      cost.full_steps.push_back(recycled->full_steps(layer));
  }
  cost_ += cost;
  last_cost_ = std::move(cost);
}

}  // namespace gca::eval
