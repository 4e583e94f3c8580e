#pragma once
// Token shards. A folder holds:
//   index.json        format "gca.tokens/1": tokenizer fingerprint, vocab_size, dtype ("uint16" or "uint32"),
//                     shards (file, tokens, sha256, a checksum of every MiB), documents (name, shard, offset,
//                     tokens, bytes, sha256 of the text), end_token where each document ends with one, and a
//                     checksum of all of it
//   tokens-00000.bin  ids, little-endian, documents back to back
//   tokenizer.model   the SentencePiece model; or tokenizer.json, byte-level BPE
// Files are memory-mapped when read: nothing is loaded whole.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gca::data {

inline constexpr const char* kTokenFormat = "gca.tokens/1";
/// A shard is checked by blocks, each when something of it is first read.
inline constexpr int64_t kShardBlockBytes = int64_t{1} << 20;
/// A shard is closed at the first end of a document past this.
inline constexpr int64_t kTokensPerShard = int64_t{1} << 28;

struct TokenDocument {
  std::string name;  ///< path as given
  int64_t shard = 0;
  int64_t offset = 0;  ///< first token within its shard
  int64_t tokens = 0;
  int64_t bytes = 0;   ///< of source text
  std::string sha256;  ///< of source text
};

/// Read-only view of a shard folder; cheap to copy, safe to share between threads.
class TokenStore {
 public:
  /// Throws Error(usage) when the folder is not a shard folder, a file is missing or truncated, or an id is out
  /// of range where that is cheap to see.
  static TokenStore open(const std::string& folder);

  const std::string& folder() const;
  const std::string& tokenizer_fingerprint() const;
  /// Changes with any id, any name, any document: what a sequence index was cut from.
  const std::string& content_fingerprint() const;
  int64_t piece_count() const;
  /// The id that ends every document; -1 where none does.
  int32_t end_token() const;
  int64_t token_count() const;
  const std::vector<TokenDocument>& documents() const;
  std::string tokenizer_path() const;
  /// Copies `out.size()` ids of document `document`, beginning at its token `first`.
  void read(int64_t document, int64_t first, std::span<int32_t> out) const;
  /// Reads every shard once and compares checksums; throws Error(usage) naming a damaged one.
  void verify() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// Writes a shard folder; nothing is visible under its final name before finish(). An existing folder is
/// replaced only where an earlier run wrote it, Error(usage) otherwise.
class TokenWriter {
 public:
  /// `tokenizer_file` is the content of the tokenizer's file. `end_token` is put after every document; -1: none.
  TokenWriter(std::string folder, std::string tokenizer_file, std::string fingerprint, int64_t piece_count,
              int64_t tokens_per_shard = kTokensPerShard, int32_t end_token = -1);
  ~TokenWriter();
  TokenWriter(const TokenWriter&) = delete;
  TokenWriter& operator=(const TokenWriter&) = delete;

  /// Throws Error(usage) where the constructor would refuse `folder`.
  static void check_folder(const std::string& folder);

  void begin_document(const std::string& name);
  void append(std::span<const int32_t> ids, std::string_view source_text);
  void end_document();
  /// Flushes and renames everything into place.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gca::data
