#include "apps/gca-tensor/checkpoint_copy.h"

#include <filesystem>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"

namespace gca::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kTokenizerFiles[] = {"tokenizer.model", "tokenizer.json", "tokenizer_config.json",
                                           "special_tokens_map.json"};
/// Of config.json and generation_config.json: no settings of the model.
constexpr const char* kTokenKeys[] = {"bos_token_id", "eos_token_id"};

}  // namespace

Json read_json_object(const std::string& path) {
  Json json = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) fail_usage(path, "is not a JSON object", "copy or download the folder again");
  return json;
}

std::string claim_new_folder(const std::string& folder) {
  if (fs::exists(folder) && !(fs::is_directory(folder) && fs::is_empty(folder)))
    fail_usage("--output " + folder, "is there already", "name a new folder, or remove it");
  return fs::absolute(folder).lexically_normal().string();
}

std::vector<std::string> copy_tokenizer(const std::string& from, const std::string& to) {
  std::vector<std::string> copied;
  for (const char* name : kTokenizerFiles) {
    if (!fs::exists(from + "/" + name)) continue;
    write_file_atomically(to + "/" + name, read_file(from + "/" + name));
    copied.emplace_back(name);
  }
  Json config = read_json_object(to + "/config.json");
  const Json source = read_json_object(from + "/config.json");
  for (const char* key : kTokenKeys)
    if (source.contains(key) && !source[key].is_null()) config[key] = source[key];
  write_file_atomically(to + "/config.json", config.dump(2) + "\n");
  if (fs::exists(from + "/generation_config.json")) {
    write_file_atomically(to + "/generation_config.json", read_file(from + "/generation_config.json"));
    copied.emplace_back("generation_config.json");
  }
  return copied;
}

}  // namespace gca::app
