#pragma once
// What a model can be trained on; the names of pretrain --task.

#include <string>
#include <vector>

namespace gca {

/// "text" and "self-copy".
inline const std::vector<std::string>& task_names() {
  static const std::vector<std::string> kNames = {"text", "self-copy"};
  return kNames;
}

}  // namespace gca
