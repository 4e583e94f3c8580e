#include "lib/model/checkpoint_folder.h"

#include <filesystem>

#include "lib/core/error.h"

namespace gca::model {

std::string find_checkpoint(const std::string& folder, const std::string& where) {
  namespace fs = std::filesystem;
  for (const std::string& candidate : {folder, folder + "/checkpoint"}) {
    if (!fs::exists(candidate + "/config.json")) continue;
    // The weights of other programs have several forms; what cannot be read is told when it is opened.
    for (const char* weights : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                "pytorch_model.bin.index.json", "consolidated.00.pth"})
      if (fs::exists(candidate + "/" + weights)) return candidate;
  }
  fail_usage(where, fs::exists(folder) ? "holds no checkpoint" : "does not exist",
             "give a folder that gca pretrain wrote, or a Llama's, with config.json, model.safetensors and a "
             "tokenizer");
}

}  // namespace gca::model
