#pragma once
// The tensors of a checkpoint that Hugging Face's programs wrote: model.safetensors, or several files of that
// format and an index that names the file of every tensor.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/core/files/safetensors_file.h"

namespace gca {

inline constexpr const char* kShardIndex = "model.safetensors.index.json";

/// Mapped files; entries point into them while they live.
class SafetensorsShards {
 public:
  /// Opens model.safetensors of `folder`, or the files that model.safetensors.index.json beside it names. Throws
  /// Error(usage) when one is missing or damaged, or where the index and the files differ.
  explicit SafetensorsShards(const std::string& folder);

  struct Tensor {
    const SafetensorsEntry* entry;
    const SafetensorsFile* file;
  };
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  /// Error(usage) when there is none of that name.
  const Tensor& at(const std::string& name) const;
  /// The file, or the index: what errors about the whole name.
  const std::string& path() const { return path_; }

 private:
  void open_index();
  void add(const SafetensorsFile& file);

  std::string folder_, path_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace gca
