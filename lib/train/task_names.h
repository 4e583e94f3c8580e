#pragma once
// What a model can be trained on; the names of pretrain --task.

#include <string>
#include <vector>

namespace gca {

inline const std::vector<std::string>& task_names() {
  static const std::vector<std::string> kNames = {"text",     "self-copy", "passkey",
                                                  "multikey", "multihop",  "recall"};
  return kNames;
}

}  // namespace gca
