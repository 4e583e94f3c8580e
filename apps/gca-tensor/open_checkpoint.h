#pragma once
// The model that --checkpoint names.

#include <nlohmann/json.hpp>

#include "apps/gca/options/text_arguments.h"
#include "lib/model/text_model.h"

namespace gca::app {

/// What --weight-dtype says.
model::WeightDtype weight_dtype_of(const TensorOptions& options);

/// Sets the threads of the process and opens the model, of several ranks on a machine each on a GPU of its own.
model::TextModel open_checkpoint(const CheckpointOptions& options, const CommonOptions& common,
                                 int local_rank = 0);

/// What a report says of the model it was made with.
nlohmann::ordered_json checkpoint_config(const CheckpointOptions& options, const model::TextModel& model);

}  // namespace gca::app
