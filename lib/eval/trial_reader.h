#pragma once
// How a model reads the trial of a task and answers it: with what was prefilled, or under a cache policy.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "lib/data/haystack.h"
#include "lib/eval/policy_reader.h"
#include "lib/eval/prefilled_text.h"
#include "lib/model/language_model.h"
#include "lib/tasks/task_kind.h"

namespace gca::eval {

class TrialReader {
 public:
  virtual ~TrialReader() = default;
  virtual tasks::TrialReading read(const tasks::Trial& trial) = 0;

  /// What reading the last trial cost, for another rank, and what it cost there. Null where nothing is counted.
  virtual nlohmann::json last_cost() const { return nullptr; }
  virtual void add_cost(const nlohmann::json& /*cost*/) {}
};

/// The answer in one pass over what stands before its tokens, and the chunks retrieved for it. `allowed` (V): ids
/// that may be generated. All arguments must outlive the reader.
class PrefilledTrialReader final : public TrialReader {
 public:
  PrefilledTrialReader(const model::LanguageModel& model, const data::Haystack& haystack,
                       PrefilledText& prefill, std::span<const uint8_t> allowed);
  tasks::TrialReading read(const tasks::Trial& trial) override;

 private:
  const model::LanguageModel& model_;
  const data::Haystack& haystack_;
  PrefilledText& prefill_;
  at::Tensor penalty_;
};

/// The answer token by token, as a cache policy reads. Tasks that ask for retrieved chunks alone are not for it.
class PolicyTrialReader final : public TrialReader {
 public:
  PolicyTrialReader(const data::Haystack& haystack, PolicyReader& reader, std::span<const uint8_t> allowed);
  tasks::TrialReading read(const tasks::Trial& trial) override;
  nlohmann::json last_cost() const override { return to_json(reader_.last_cost()); }
  void add_cost(const nlohmann::json& cost) override { reader_.add_cost(step_cost_of(cost)); }

 private:
  const data::Haystack& haystack_;
  PolicyReader& reader_;
  at::Tensor penalty_;
};

}  // namespace gca::eval
