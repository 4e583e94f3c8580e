#include <algorithm>
#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "lib/core/checksums/checksum.h"
#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/mapped_file.h"
#include "lib/core/json/json_number.h"
#include "lib/data/sealed_json.h"
#include "lib/data/token_shard.h"
#include "lib/text/tokenizer_file.h"

namespace gca::data {

struct TokenStore::Impl {
  struct Shard {
    std::string path;
    MappedFile file;
    int64_t tokens = 0;
    std::string sha256;
    std::vector<std::string> block_checksums;
    std::unique_ptr<std::atomic<bool>[]> block_is_checked;  ///< readers share it

    /// Error(usage) when a block that holds some of [begin, end) is not what was written.
    void check(int64_t begin, int64_t end) const {
      if (begin == end || block_checksums.empty()) return;
      for (int64_t block = begin / kShardBlockBytes; block <= (end - 1) / kShardBlockBytes; ++block) {
        std::atomic<bool>& is_checked = block_is_checked[static_cast<size_t>(block)];
        if (is_checked.load(std::memory_order_relaxed)) continue;
        const int64_t first = block * kShardBlockBytes;
        const int64_t size = std::min(kShardBlockBytes, static_cast<int64_t>(file.size_bytes()) - first);
        const std::string& expected = block_checksums[static_cast<size_t>(block)];
        Checksum checksum(checksum_kind_of(expected));
        checksum.update(file.data() + first, static_cast<size_t>(size));
        if (checksum.text() != expected)
          fail_usage(path, "is damaged (does not match its checksum)", "run gca tokenize again");
        is_checked.store(true, std::memory_order_relaxed);
      }
    }
  };

  std::string folder;
  std::string fingerprint;
  std::string seal;
  int64_t piece_count = 0;
  int32_t end_token = -1;
  int64_t token_count = 0;
  int64_t id_bytes = 0;  ///< size of one id in a shard: 2 or 4
  std::vector<Shard> shards;
  std::vector<TokenDocument> documents;

  void open_shards(const nlohmann::json& list) {
    for (const auto& item : list) {
      Shard shard;
      shard.path = folder + "/" + item.at("file").get<std::string>();
      shard.tokens = whole_number(item.at("tokens"));
      shard.sha256 = item.at("sha256");
      shard.file = MappedFile(shard.path);
      if (shard.tokens < 0 || shard.tokens > INT64_MAX / id_bytes)
        fail_usage(folder + "/index.json", fmt::format("gives {} {} tokens", shard.path, shard.tokens),
                   "run gca tokenize again");
      const auto expected_bytes = shard.tokens * id_bytes;
      if (static_cast<int64_t>(shard.file.size_bytes()) != expected_bytes)
        fail_usage(
            shard.path,
            fmt::format("has {} bytes where its index says {}", shard.file.size_bytes(), expected_bytes),
            "run gca tokenize again");
      // Folders of earlier versions have none: verify() still has the shard's SHA-256.
      if (item.contains("blocks")) shard.block_checksums = item["blocks"].get<std::vector<std::string>>();
      const size_t blocks = shard.block_checksums.size();
      const bool is_complete =
          static_cast<int64_t>(blocks) == (expected_bytes + kShardBlockBytes - 1) / kShardBlockBytes;
      if (item.contains("blocks") && !is_complete)
        fail_usage(folder + "/index.json", "does not account for every block of " + shard.path,
                   "run gca tokenize again");
      shard.block_is_checked = std::make_unique<std::atomic<bool>[]>(blocks);
      token_count += shard.tokens;
      shards.push_back(std::move(shard));
    }
  }

  /// Documents lie back to back: each begins where the one before it ended.
  void read_documents(const nlohmann::json& list, const std::string& path) {
    std::vector<int64_t> filled(shards.size(), 0);
    for (const auto& item : list) {
      TokenDocument document{item.at("name"),
                             whole_number(item.at("shard")),
                             whole_number(item.at("offset")),
                             whole_number(item.at("tokens")),
                             whole_number(item.at("bytes")),
                             item.at("sha256")};
      const bool in_range = document.shard >= 0 && document.shard < static_cast<int64_t>(shards.size());
      const auto shard = static_cast<size_t>(document.shard);
      if (!in_range || document.tokens < 0 || document.offset != filled[shard] ||
          document.tokens > shards[shard].tokens - filled[shard])
        fail_usage(path, "places the document " + document.name + " wrongly", "run gca tokenize again");
      filled[static_cast<size_t>(document.shard)] += document.tokens;
      documents.push_back(std::move(document));
    }
    for (size_t i = 0; i < shards.size(); ++i)
      if (filled[i] != shards[i].tokens)
        fail_usage(path, "does not account for every token of " + shards[i].path, "run gca tokenize again");
  }
};

TokenStore TokenStore::open(const std::string& folder) {
  const std::string path = folder + "/index.json";
  const nlohmann::json index = read_sealed_json(path, kTokenFormat, "gca tokenize");
  auto impl = std::make_shared<Impl>();
  impl->folder = folder;
  try {
    impl->fingerprint = index.at("tokenizer");
    impl->seal = index.at("seal");
    impl->piece_count = whole_number(index.at("vocab_size"));
    impl->id_bytes = index.at("dtype") == "uint16" ? 2 : 4;
    if (index.contains("end_token")) {
      const int64_t end_token = whole_number(index["end_token"]);
      if (end_token < 0 || end_token >= impl->piece_count)
        fail_usage(path, fmt::format("names {} as the token that ends documents", end_token),
                   "run gca tokenize again");
      impl->end_token = static_cast<int32_t>(end_token);
    }
    impl->open_shards(index.at("shards"));
    impl->read_documents(index.at("documents"), path);
  } catch (const nlohmann::json::exception& error) {
    fail_usage(path, fmt::format("is damaged ({})", error.what()), "run gca tokenize again");
  }
  const std::string model_path = text::find_tokenizer_file(folder);
  if (sha256_hex(read_file(model_path)) != impl->fingerprint)
    fail_usage(model_path, "is not the tokenizer these shards were written with", "run gca tokenize again");
  TokenStore store;
  store.impl_ = std::move(impl);
  return store;
}

const std::string& TokenStore::folder() const {
  return impl_->folder;
}
const std::string& TokenStore::tokenizer_fingerprint() const {
  return impl_->fingerprint;
}
const std::string& TokenStore::content_fingerprint() const {
  return impl_->seal;
}
int64_t TokenStore::piece_count() const {
  return impl_->piece_count;
}
int32_t TokenStore::end_token() const {
  return impl_->end_token;
}
int64_t TokenStore::token_count() const {
  return impl_->token_count;
}
const std::vector<TokenDocument>& TokenStore::documents() const {
  return impl_->documents;
}
std::string TokenStore::tokenizer_path() const {
  return text::find_tokenizer_file(impl_->folder);
}

void TokenStore::read(int64_t document_index, int64_t first, std::span<int32_t> out) const {
  const TokenDocument& document = impl_->documents.at(static_cast<size_t>(document_index));
  const auto count = static_cast<int64_t>(out.size());
  if (first < 0 || first + count > document.tokens)
    fail_run(document.name,
             fmt::format("tokens {}..{} were asked of {}", first, first + count, document.tokens));
  if (out.empty()) return;
  const Impl::Shard& shard = impl_->shards[static_cast<size_t>(document.shard)];
  const int64_t begin = (document.offset + first) * impl_->id_bytes;
  shard.check(begin, begin + count * impl_->id_bytes);
  const std::byte* source = shard.file.data() + begin;
  if (impl_->id_bytes == 4) {
    std::memcpy(out.data(), source, out.size_bytes());
  } else {
    const auto* ids = reinterpret_cast<const uint16_t*>(source);
    std::copy(ids, ids + count, out.begin());
  }
  for (const int32_t id : out)
    if (id < 0 || id >= impl_->piece_count)
      fail_usage(shard.path, fmt::format("is damaged (id {} of {})", id, impl_->piece_count),
                 "run gca tokenize again");
}

void TokenStore::verify() const {
  for (const auto& shard : impl_->shards) {
    Sha256 hash;
    hash.update(shard.file.data(), shard.file.size_bytes());
    if (hash.hex_digest() != shard.sha256)
      fail_usage(shard.path, "is damaged (does not match its checksum)", "run gca tokenize again");
  }
}

}  // namespace gca::data
