#pragma once
// index.json of a folder that keeps a session (text_session.h), format "gca.session/1". Knows no LibTorch.

#include <cstdint>
#include <map>
#include <string>

namespace gca::generate {

inline constexpr const char* kSessionFormat = "gca.session/1";

struct SessionIndex {
  int64_t position = 0;                        ///< positions seen, landmarks included
  int64_t drawn_tokens = 0;                    ///< of the text
  std::string dtype;                           ///< the model computed in: "F32", "BF16"
  std::string model;                           ///< a digest of its weights
  std::string tokenizer;                       ///< its fingerprint
  std::string kv_policy;                       ///< JSON of the cache policy; empty where keys are all kept
  std::map<std::string, std::string> tensors;  ///< name to SHA-256 of the data
};

/// Sealed, aside and renamed.
void write_session_index(const std::string& path, const SessionIndex& index);

/// Throws Error(usage) when the file is missing, damaged, or says what no session can.
SessionIndex read_session_index(const std::string& path);

}  // namespace gca::generate
