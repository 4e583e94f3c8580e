// Files of settings: --config FILE, config.json of a checkpoint, a report, and each line as a --set.

#include <sstream>

#include "lib/model/model_cost.h"
#include "lib/train/settings/run_config.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(text_of(data, size));
  const std::string path = scratch_folder() + "/config.json";
  put(path, text);
  read_or_refuse([&] {
    gca::train::RunConfig config;
    config.read(path);
    config.model.validate(path);
    config.train.validate(path);
    gca::model::parameter_count(config.model);
    config.to_json().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  });
  const nlohmann::json json = parsed(text);
  if (!json.is_discarded()) read_or_refuse([&] { gca::model::model_config_from_json(json, path); });
  gca::train::RunConfig config;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) read_or_refuse([&] { config.set_from_flag(line); });
  read_or_refuse([&] { config.model.validate("--set"); });
  return 0;
}
