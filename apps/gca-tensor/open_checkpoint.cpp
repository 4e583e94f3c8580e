#include "apps/gca-tensor/open_checkpoint.h"

#include "lib/device/open_device.h"
#include "lib/train/step/process_settings.h"

namespace gca::app {

model::WeightDtype weight_dtype_of(const TensorOptions& options) {
  return resolved_weight_dtype(options) == kInt8Weights ? model::WeightDtype::int8
                                                        : model::WeightDtype::compute;
}

model::TextModel open_checkpoint(const CheckpointOptions& options, const CommonOptions& common,
                                 int local_rank) {
  const std::string dtype = resolved_dtype(options.tensor);
  const model::WeightDtype weight_dtype = weight_dtype_of(options.tensor);
  const at::Device device = device::open_device(options.tensor.device, dtype, local_rank);
  train::use_threads(thread_count(common));
  return model::TextModel::open(options.folder, dtype, device, weight_dtype);
}

nlohmann::ordered_json checkpoint_config(const CheckpointOptions& options, const model::TextModel& model) {
  nlohmann::ordered_json config;
  config["checkpoint"] = model.folder;
  config["dtype"] = resolved_dtype(options.tensor);
  config["weight_dtype"] = resolved_weight_dtype(options.tensor);
  config["model"] = model::model_config_to_json(model.model.config());
  return config;
}

}  // namespace gca::app
