#include "apps/gca-tensor/open_checkpoint.h"

#include "lib/core/error.h"
#include "lib/train/process_settings.h"

namespace gca {

TextModel open_checkpoint(const CheckpointOptions& options, const CommonOptions& common) {
  if (options.tensor.device != "cpu")
    fail_usage("--device " + options.tensor.device, "this build computes on the CPU only",
               "use --device cpu");
  use_threads(thread_count(common));
  return TextModel::open(options.folder, resolved_dtype(options.tensor));
}

nlohmann::ordered_json checkpoint_config(const CheckpointOptions& options, const TextModel& model) {
  nlohmann::ordered_json config;
  config["checkpoint"] = model.folder;
  config["dtype"] = resolved_dtype(options.tensor);
  config["model"] = model_config_to_json(model.model.config());
  return config;
}

}  // namespace gca
