#include "lib/text/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <utility>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/text/forced_cut.h"
#include "lib/text/tokenizer_file.h"
#include "lib/text/tokenizer_model.h"

namespace gca::text {
namespace {

/// Text per task of encode_parallel().
constexpr size_t kBlockBytes = size_t{1} << 16;

/// Blocks of about kBlockBytes; larger where no safe cut is nearer.
std::vector<std::string_view> cut_into_blocks(const TokenizerModel& model, std::string_view text) {
  std::vector<std::string_view> blocks;
  size_t limit = kBlockBytes;
  while (!text.empty()) {
    size_t cut = limit < text.size() ? model.safe_cut(text, limit) : text.size();
    if (cut == text.size() && limit < text.size() && limit < kMostBytesAtOnce) {
      limit *= 2;
      continue;
    }
    if (cut > kMostBytesAtOnce) cut = forced_cut(text.substr(0, kMostBytesAtOnce));
    blocks.push_back(text.substr(0, cut));
    text.remove_prefix(cut);
    limit = kBlockBytes;
  }
  return blocks;
}

}  // namespace

Tokenizer Tokenizer::load(const std::string& path) {
  return from_serialized(read_file(path), path);
}

Tokenizer Tokenizer::from_serialized(std::string serialized, const std::string& where) {
  Tokenizer tokenizer;
  tokenizer.model_ = is_tokenizer_json(serialized) ? open_byte_level_bpe(serialized, where)
                                                   : open_sentencepiece_model(serialized, where);
  tokenizer.fingerprint_ = sha256_hex(serialized);
  tokenizer.serialized_ = std::make_shared<const std::string>(std::move(serialized));
  return tokenizer;
}

int64_t Tokenizer::piece_count() const {
  return static_cast<int64_t>(model_->vocabulary().bytes_of_id.size());
}

int32_t Tokenizer::start_id() const {
  return model_->vocabulary().start_id;
}

int32_t Tokenizer::end_id() const {
  return model_->vocabulary().end_id;
}

const std::vector<int32_t>& Tokenizer::prefix_ids() const {
  return model_->vocabulary().prefix_ids;
}

bool Tokenizer::is_lossless() const {
  return model_->vocabulary().is_lossless;
}

int32_t Tokenizer::unknown_id() const {
  return model_->vocabulary().unknown_id;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, TextFaults* faults, bool goes_on) const {
  std::vector<int32_t> ids;
  TextFaults found;
  model_->encode(text, goes_on, ids, found);
  if (faults != nullptr) *faults += found;
  return ids;
}

std::vector<int32_t> Tokenizer::encode_parallel(std::string_view text, int threads,
                                                TextFaults* faults) const {
  const std::vector<std::string_view> blocks = cut_into_blocks(*model_, text);
  std::vector<std::vector<int32_t>> block_ids(blocks.size());
  std::vector<TextFaults> block_faults(blocks.size());
  std::atomic<size_t> next_block = 0;
  const auto encode_blocks = [&] {
    for (size_t i = next_block++; i < blocks.size(); i = next_block++)
      model_->encode(blocks[i], /*goes_on=*/i > 0, block_ids[i], block_faults[i]);
  };

  std::vector<std::future<void>> helpers;
  for (size_t i = 1; i < std::min(blocks.size(), static_cast<size_t>(std::max(threads, 1))); ++i)
    helpers.push_back(std::async(std::launch::async, encode_blocks));
  encode_blocks();
  for (auto& helper : helpers) helper.get();

  std::vector<int32_t> ids;
  for (size_t i = 0; i < blocks.size(); ++i) {
    ids.insert(ids.end(), block_ids[i].begin(), block_ids[i].end());
    if (faults != nullptr) *faults += block_faults[i];
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    if (id < 0 || id > landmark_id())
      fail_usage("token id " + std::to_string(id),
                 "the tokenizer has ids from 0 to " + std::to_string(landmark_id()),
                 "use the tokenizer that wrote these ids");
    if (id != landmark_id()) text += model_->vocabulary().bytes_of_id[static_cast<size_t>(id)];
  }
  return text;
}

int64_t Tokenizer::piece_bytes(int32_t id) const {
  if (id == landmark_id()) return 0;
  return static_cast<int64_t>(model_->vocabulary().bytes_of_id.at(static_cast<size_t>(id)).size());
}

std::vector<int32_t> Tokenizer::piece_bytes_table() const {
  std::vector<int32_t> table;
  for (const std::string& bytes : model_->vocabulary().bytes_of_id)
    table.push_back(static_cast<int32_t>(bytes.size()));
  table.push_back(0);  // the landmark
  return table;
}

size_t Tokenizer::safe_cut(std::string_view text, size_t limit) const {
  return limit < text.size() ? model_->safe_cut(text, limit) : text.size();
}

}  // namespace gca::text
