#pragma once
// What the report of a training run says, and its table.

#include <nlohmann/json.hpp>
#include <string>

#include "apps/gca/options/pretrain_options.h"
#include "lib/model/language_model.h"
#include "lib/train/checkpoints/trainer_state.h"
#include "lib/train/data/task_data.h"
#include "lib/train/settings/run_config.h"

namespace gca::app {

/// How the run was made.
nlohmann::ordered_json pretrain_config_of(const PretrainOptions& options, const train::TrainerState& state,
                                          const train::RunConfig& config);

/// What came of it. Measures the machine's rate of products where --peak asks for it.
nlohmann::ordered_json pretrain_result_of(const PretrainOptions& options, const model::LanguageModel& model,
                                          const train::TrainerState& state, const train::TaskData& data);

std::string pretrain_table_of(const nlohmann::ordered_json& result);

}  // namespace gca::app
