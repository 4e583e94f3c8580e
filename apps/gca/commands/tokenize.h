#pragma once
// gca tokenize, by one process or several: its flags, and what each process does.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"
#include "apps/gca/options/rank_options.h"
#include "lib/data/encode_documents.h"
#include "lib/text/sources/source_options.h"

namespace gca::app {

struct TokenizeOptions {
  CommonOptions common;
  std::vector<std::string> inputs;
  text::SourceOptions source;
  std::string output;
  std::string tokenizer_path;
  int64_t train_vocab = 0;
  std::string tokenizer_type = "bpe";
  bool end_tokens = false;
  bool print_ids = false;
  std::string decode_folder;
  int timeout_seconds = kSharingTimeoutSeconds;
};

/// What this process is among those that share the work: the only one, by default.
struct TokenizeRanks {
  bool is_writer = true;
  data::EncodeShare share = {};
  /// Does the work on all of them, or fails on all.
  std::function<void(const std::function<void()>& work)> together = [](const auto& work) { work(); };
  /// What the writer makes, on all of them.
  std::function<std::string(const std::function<std::string()>& make)> of_writer = [](const auto& make) {
    return make();
  };
};

/// Texts to token shards, or to the ids on standard output.
void tokenize(const TokenizeOptions& options, const TokenizeRanks& ranks);

}  // namespace gca::app
