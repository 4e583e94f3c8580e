#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include <fmt/format.h>

#include "lib/core/checksums/checksum.h"
#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/core/files/file_steps.h"
#include "lib/core/files/folder_lock.h"
#include "lib/data/output_folder.h"
#include "lib/data/sealed_json.h"
#include "lib/data/token_shard.h"
#include "lib/text/tokenizer_file.h"

namespace fs = std::filesystem;

namespace gca::data {
namespace {

constexpr const char* kOwnNames[] = {"index.json", "tokens-", "tokenizer.model", "tokenizer.json",
                                     "report.json"};

std::string claim_folder(const std::string& folder) {
  return claim_output_folder(folder, kTokenFormat, kOwnNames);
}

}  // namespace

struct TokenWriter::Impl {
  struct Shard {
    std::string file;
    int64_t tokens = 0;
    Sha256 hash;
    Checksum block;  ///< of the bytes since the last whole block
    int64_t block_bytes = 0;
    nlohmann::json blocks = nlohmann::json::array();
    std::unique_ptr<AtomicFile> output;
  };

  std::string folder;
  std::optional<FolderLock> lock;
  std::string working_folder;
  std::string tokenizer_file;
  std::string fingerprint;
  int64_t piece_count = 0;
  int32_t end_token = -1;
  int64_t tokens_per_shard = 0;
  bool finished = false;
  std::optional<Shard> shard;  ///< the one being written
  nlohmann::json shards = nlohmann::json::array();
  nlohmann::json documents = nlohmann::json::array();
  std::optional<TokenDocument> document;  ///< the one being written
  Sha256 document_hash;
  std::vector<uint16_t> narrow;  ///< scratch of append()

  bool is_narrow() const { return piece_count <= std::numeric_limits<uint16_t>::max() + int64_t{1}; }

  void open_shard() {
    shard = Shard();
    shard->file = fmt::format("tokens-{:05}.bin", shards.size());
    shard->output = std::make_unique<AtomicFile>(working_folder + "/" + shard->file);
  }

  void close_shard() {
    if (!shard) return;
    shard->output->commit();
    if (shard->block_bytes > 0) close_block();
    shards.push_back({{"file", shard->file},
                      {"tokens", shard->tokens},
                      {"sha256", shard->hash.hex_digest()},
                      {"blocks", shard->blocks}});
    shard.reset();
  }

  void close_block() {
    shard->blocks.push_back(shard->block.text());
    shard->block = Checksum();
    shard->block_bytes = 0;
  }

  void write(const void* data, size_t size_bytes) {
    shard->output->write(data, size_bytes);
    shard->hash.update(data, size_bytes);
    const auto* bytes = static_cast<const std::byte*>(data);
    while (size_bytes > 0) {
      const size_t taken = std::min(size_bytes, static_cast<size_t>(kShardBlockBytes - shard->block_bytes));
      shard->block.update(bytes, taken);
      shard->block_bytes += static_cast<int64_t>(taken);
      if (shard->block_bytes == kShardBlockBytes) close_block();
      bytes += taken, size_bytes -= taken;
    }
  }
};

TokenWriter::TokenWriter(std::string folder, std::string tokenizer_file, std::string fingerprint,
                         int64_t piece_count, int64_t tokens_per_shard, int32_t end_token)
    : impl_(std::make_unique<Impl>()) {
  impl_->folder = claim_folder(folder);
  impl_->lock.emplace(impl_->folder);
  impl_->tokenizer_file = std::move(tokenizer_file);
  impl_->fingerprint = std::move(fingerprint);
  impl_->piece_count = piece_count;
  impl_->end_token = end_token;
  impl_->tokens_per_shard = tokens_per_shard;
  std::error_code error;
  do {
    // The next writer of this folder removes what a killed process left.
    impl_->working_folder = temporary_name(impl_->folder + (impl_->lock->is_filled_in_place() ? "/" : ""));
  } while (!fs::create_directory(impl_->working_folder, error) && !error);
  if (error)
    fail_usage("--output " + folder, "cannot be created (" + error.message() + ")",
               "name a folder that can be written");
}

TokenWriter::~TokenWriter() {
  impl_->shard.reset();
  std::error_code ignored;
  fs::remove_all(impl_->working_folder, ignored);
}

void TokenWriter::check_folder(const std::string& folder) {
  claim_folder(folder);
}

void TokenWriter::begin_document(const std::string& name) {
  // A document never spans shards: a shard is closed at the first border past its size.
  if (impl_->shard && impl_->shard->tokens >= impl_->tokens_per_shard) impl_->close_shard();
  if (!impl_->shard) impl_->open_shard();
  impl_->document.emplace();
  impl_->document->name = name;
  impl_->document->shard = static_cast<int64_t>(impl_->shards.size());
  impl_->document->offset = impl_->shard->tokens;
  impl_->document_hash = Sha256();
}

void TokenWriter::append(std::span<const int32_t> ids, std::string_view source_text) {
  if (impl_->is_narrow()) {
    impl_->narrow.assign(ids.begin(), ids.end());
    impl_->write(impl_->narrow.data(), impl_->narrow.size() * sizeof(uint16_t));
  } else {
    impl_->write(ids.data(), ids.size_bytes());
  }
  const auto count = static_cast<int64_t>(ids.size());
  impl_->shard->tokens += count;
  impl_->document->tokens += count;
  impl_->document->bytes += static_cast<int64_t>(source_text.size());
  impl_->document_hash.update(source_text.data(), source_text.size());
}

void TokenWriter::end_document() {
  if (impl_->end_token >= 0) append({&impl_->end_token, 1}, "");
  const TokenDocument& document = *impl_->document;
  // File names may hold any bytes; JSON holds UTF-8 only.
  const nlohmann::json name = nlohmann::json::parse(
      nlohmann::json(document.name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  impl_->documents.push_back({{"name", name},
                              {"shard", document.shard},
                              {"offset", document.offset},
                              {"tokens", document.tokens},
                              {"bytes", document.bytes},
                              {"sha256", impl_->document_hash.hex_digest()}});
  impl_->document.reset();
}

void TokenWriter::finish() {
  impl_->close_shard();
  const std::string& from = impl_->working_folder;
  write_file_atomically(from + "/" + text::tokenizer_file_name(impl_->tokenizer_file), impl_->tokenizer_file);
  nlohmann::json index = {
      {"format", kTokenFormat},           {"tokenizer", impl_->fingerprint},
      {"vocab_size", impl_->piece_count}, {"dtype", impl_->is_narrow() ? "uint16" : "uint32"},
      {"shards", impl_->shards},          {"documents", impl_->documents}};
  if (impl_->end_token >= 0) index["end_token"] = impl_->end_token;
  write_sealed_json(from + "/index.json", index);
  claim_folder(impl_->folder);  // Once more: it may have changed while tokens were written.
  replace_folder_atomically(impl_->folder, [&](const std::string& to) {
    for (const auto& entry : fs::directory_iterator(from))
      fs::rename(entry.path(), fs::path(to) / entry.path().filename());
  });
}

}  // namespace gca::data
