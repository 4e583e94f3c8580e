#include "lib/core/files/safetensors_shards.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"

namespace gca {
namespace {

constexpr const char* kCopyAgain = "copy or download the folder again";

/// weight_map of an index: the file of each tensor.
std::map<std::string, std::string> read_weight_map(const std::string& path) {
  const auto json = nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  const bool has_map = json.is_object() && json.contains("weight_map") && json["weight_map"].is_object();
  if (!has_map || json["weight_map"].empty()) fail_usage(path, "has no weight_map", kCopyAgain);
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
      fail_usage(path, fmt::format("the file of {} is {}", tensor, file.dump()),
                 "give a file of the same folder");
    files[tensor] = name;
  }
  return files;
}

}  // namespace

SafetensorsShards::SafetensorsShards(const std::string& folder)
    : folder_(folder), path_(folder + "/model.safetensors") {
  if (!std::filesystem::exists(path_) && std::filesystem::exists(folder + "/" + kShardIndex)) {
    path_ = folder + "/" + kShardIndex;
    open_index();
    return;
  }
  files_.push_back(std::make_unique<SafetensorsFile>(path_));
  add(*files_.front());
}

void SafetensorsShards::open_index() {
  const std::map<std::string, std::string> weight_map = read_weight_map(path_);
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map) names.insert(file);
  for (const std::string& name : names) {
    files_.push_back(std::make_unique<SafetensorsFile>(folder_ + "/" + name));
    const SafetensorsFile& file = *files_.back();
    for (const auto& [tensor, entry] : file.entries()) {
      const auto mapped = weight_map.find(tensor);
      if (mapped == weight_map.end())
        fail_usage(file.path(), fmt::format("holds {}, which {} does not name", tensor, kShardIndex),
                   kCopyAgain);
      if (mapped->second != name)
        fail_usage(file.path(),
                   fmt::format("holds {}, which {} puts into {}", tensor, kShardIndex, mapped->second),
                   kCopyAgain);
    }
    add(file);
  }
  for (const auto& [tensor, file] : weight_map)
    if (!tensors_.contains(tensor))
      fail_usage(path_, fmt::format("puts {} into {}, which does not hold it", tensor, file), kCopyAgain);
}

void SafetensorsShards::add(const SafetensorsFile& file) {
  for (const auto& [name, entry] : file.entries()) tensors_[name] = {&entry, &file};
}

const SafetensorsShards::Tensor& SafetensorsShards::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail_usage(path_, fmt::format("has no tensor \"{}\"", name), kCopyAgain);
  return found->second;
}

}  // namespace gca
