#pragma once
// The smallest training run worth the name: self-copy needs no data.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/core/files/atomic_file.h"

/// Words of gca pretrain, one thread.
inline std::vector<std::string> tiny_run(const std::string& output,
                                         const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {
      "pretrain", "--task",           "self-copy", "--config",         "nano",     "--set", "vocab_size=32",
      "--set",    "sliding_window=8", "--set",     "eval_sequences=2", "--output", output,  "--threads",
      "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

inline std::vector<std::string> resumed(const std::string& output,
                                        const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"pretrain", "--resume", "--quiet", "--output", output, "--threads", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

inline std::string checkpoint_bytes(const std::string& output) {
  return gca::read_file(output + "/checkpoint/model.safetensors") +
         gca::read_file(output + "/checkpoint/optimizer.safetensors");
}

inline int64_t saved_step(const std::string& output) {
  return nlohmann::json::parse(gca::read_file(output + "/checkpoint/trainer_state.json"))["step"];
}
