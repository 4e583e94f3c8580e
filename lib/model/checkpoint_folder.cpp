#include "lib/model/checkpoint_folder.h"

#include <filesystem>

#include "lib/core/error.h"

namespace gca::model {

std::string find_checkpoint(const std::string& folder, const std::string& where) {
  namespace fs = std::filesystem;
  for (const std::string& candidate : {folder, folder + "/checkpoint"})
    if (fs::exists(candidate + "/config.json") && fs::exists(candidate + "/model.safetensors"))
      return candidate;
  fail_usage(
      where, fs::exists(folder) ? "holds no checkpoint" : "does not exist",
      "give a folder that gca pretrain wrote, with config.json, model.safetensors and tokenizer.model");
}

}  // namespace gca::model
