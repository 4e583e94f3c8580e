#include "lib/data/sequence_index.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/core/json/json_number.h"
#include "lib/data/chunk_layout.h"
#include "lib/data/output_folder.h"
#include "lib/data/sealed_json.h"
#include "lib/data/sequence_cutting.h"

namespace fs = std::filesystem;

namespace gca::data {
namespace {

constexpr const char* kOwnNames[] = {"index.json", "train.bin", "valid.bin", "report.json"};

/// One sequence in train.bin and valid.bin, little-endian.
struct StoredEntry {
  int64_t document;
  int64_t first_token;
  int32_t tokens;
  int32_t flags;  ///< 0
};
static_assert(sizeof(StoredEntry) == 24);

std::string pack(std::span<const SequenceEntry> entries) {
  std::string bytes(entries.size() * sizeof(StoredEntry), '\0');
  for (size_t i = 0; i < entries.size(); ++i) {
    const StoredEntry stored{entries[i].document, entries[i].first_token, entries[i].tokens, 0};
    std::memcpy(bytes.data() + i * sizeof(StoredEntry), &stored, sizeof(StoredEntry));
  }
  return bytes;
}

std::vector<SequenceEntry> unpack(const std::string& bytes) {
  std::vector<SequenceEntry> entries(bytes.size() / sizeof(StoredEntry));
  for (size_t i = 0; i < entries.size(); ++i) {
    StoredEntry stored{};
    std::memcpy(&stored, bytes.data() + i * sizeof(StoredEntry), sizeof(StoredEntry));
    entries[i] = {stored.document, stored.first_token, stored.tokens};
  }
  return entries;
}

/// Relative to the index folder where the two share more than the root, so that both can be moved together.
std::string path_from(const std::string& index_folder, const std::string& tokens_folder) {
  const fs::path from = fs::weakly_canonical(fs::absolute(index_folder));
  const fs::path to = fs::weakly_canonical(fs::absolute(tokens_folder));
  const bool share_a_parent = from.begin() != from.end() && std::next(from.begin()) != from.end() &&
                              std::next(to.begin()) != to.end() &&
                              *std::next(from.begin()) == *std::next(to.begin());
  return share_a_parent ? to.lexically_relative(from).string() : to.string();
}

/// The folder that an index in `index_folder` calls `tokens_folder`. Where `index_folder` is a link, that is
/// beside what it leads to, or else beside the link.
std::string find_tokens(const std::string& index_folder, const fs::path& tokens_folder) {
  const std::string found = (fs::weakly_canonical(index_folder) / tokens_folder).lexically_normal().string();
  const std::string beside_link = (fs::absolute(index_folder) / tokens_folder).lexically_normal().string();
  for (const std::string& place : {found, beside_link})
    if (fs::exists(fs::path(place) / "index.json")) return place;
  fail_usage(
      index_folder + "/index.json", "refers to the tokens in " + found + ", which are not there",
      "put the folder of gca tokenize there (a link will do), or run gca chunk --tokens NEW-PLACE with the "
      "same settings, which gives the same sequences");
}

nlohmann::json split_to_json(const SplitPlan& split, const std::string& file, const std::string& bytes) {
  return {{"file", file},
          {"sha256", sha256_hex(bytes)},
          {"documents", split.documents},
          {"sequences", split.counts.sequences},
          {"chunks", split.counts.chunks},
          {"tokens", split.counts.tokens},
          {"dropped_tokens", split.counts.dropped_tokens}};
}

nlohmann::json settings_to_json(const ChunkSettings& settings) {
  return {{"chunk_size", settings.chunk_size},
          {"context", settings.context},
          {"valid_fraction", settings.valid_fraction},
          {"joined", settings.join_documents},
          {"seed", settings.seed}};
}

ChunkSettings settings_from_json(const nlohmann::json& json) {
  ChunkSettings settings;
  settings.chunk_size = whole_number(json.at("chunk_size"));
  settings.context = whole_number(json.at("context"));
  settings.valid_fraction = json.at("valid_fraction");
  settings.join_documents = json.at("joined");
  settings.seed = unsigned_number(json.at("seed"));
  return settings;
}

}  // namespace

struct SequenceIndex::Impl {
  TokenStore tokens;
  ChunkSettings settings;
  std::vector<SequenceEntry> train, valid;
  std::vector<int64_t> following;  ///< by document: the next of its split that has tokens, -1 at the end
  std::string fingerprint;

  void check_document(int64_t document, const std::string& where) const {
    if (document < 0 || document >= static_cast<int64_t>(tokens.documents().size()))
      fail_usage(where, fmt::format("names document {} of {}", document, tokens.documents().size()),
                 "run gca chunk again");
  }

  void check_entries(const std::vector<SequenceEntry>& entries, const std::string& where) const {
    for (const SequenceEntry& entry : entries) {
      check_document(entry.document, where);
      const int64_t document_tokens = tokens.documents()[static_cast<size_t>(entry.document)].tokens;
      if (entry.first_token < 0 || entry.first_token > document_tokens || entry.tokens < 0 ||
          entry.tokens > settings.context)
        fail_usage(where, "places a sequence outside its document", "run gca chunk again");
    }
  }

  void link_documents(const std::vector<int64_t>& split) {
    for (size_t i = 0; i < split.size(); ++i) {
      size_t next = i + 1;
      while (next < split.size() && tokens.documents()[static_cast<size_t>(split[next])].tokens == 0) ++next;
      following[static_cast<size_t>(split[i])] = next < split.size() ? split[next] : -1;
    }
  }

  void adopt(const std::vector<int64_t>& train_documents, const std::vector<int64_t>& valid_documents) {
    following.assign(tokens.documents().size(), -1);
    link_documents(train_documents);
    link_documents(valid_documents);
    fingerprint = sha256_hex(tokens.content_fingerprint() + settings_to_json(settings).dump() + pack(train) +
                             pack(valid));
  }

  /// Document and offset of the token after `offset` tokens of `document`; false at the end of the text.
  bool settle(int64_t& document, int64_t& offset) const {
    while (offset >= tokens.documents()[static_cast<size_t>(document)].tokens) {
      if (!settings.join_documents || following[static_cast<size_t>(document)] < 0) return false;
      offset -= tokens.documents()[static_cast<size_t>(document)].tokens;
      document = following[static_cast<size_t>(document)];
    }
    return true;
  }
};

ChunkSummary write_sequence_index(const TokenStore& tokens, const std::string& folder,
                                  const ChunkSettings& settings) {
  const std::string target = claim_output_folder(folder, kSequenceFormat, kOwnNames);
  tokens.verify();
  const CutPlan plan = cut_documents(tokens.documents(), settings);
  const std::string train = pack(plan.train.entries);
  const std::string valid = pack(plan.valid.entries);
  nlohmann::json index = settings_to_json(settings);
  index["format"] = kSequenceFormat;
  index["tokens_folder"] = path_from(target, tokens.folder());
  index["tokens_fingerprint"] = tokens.content_fingerprint();
  index["tokenizer"] = tokens.tokenizer_fingerprint();
  index["train"] = split_to_json(plan.train, "train.bin", train);
  index["valid"] = split_to_json(plan.valid, "valid.bin", valid);
  fs::create_directories(fs::path(target).parent_path());
  replace_folder_atomically(target, [&](const std::string& to) {
    write_file_atomically(to + "/train.bin", train);
    write_file_atomically(to + "/valid.bin", valid);
    write_sealed_json(to + "/index.json", index);
  });
  return {plan.train.counts, plan.valid.counts};
}

SequenceIndex SequenceIndex::open(const std::string& folder, const ChunkSettings& fallback) {
  auto impl = std::make_shared<Impl>();
  if (folder_format(folder) == kTokenFormat) {
    impl->tokens = TokenStore::open(folder);
    impl->settings = fallback;
    CutPlan plan = cut_documents(impl->tokens.documents(), fallback);
    impl->train = std::move(plan.train.entries);
    impl->valid = std::move(plan.valid.entries);
    impl->adopt(plan.train.documents, plan.valid.documents);
  } else {
    const std::string path = folder + "/index.json";
    const nlohmann::json index = read_sealed_json(path, kSequenceFormat, "gca chunk");
    try {
      impl->tokens = TokenStore::open(find_tokens(folder, index.at("tokens_folder").get<std::string>()));
      if (impl->tokens.content_fingerprint() != index.at("tokens_fingerprint"))
        fail_usage(folder, "was cut from other tokens than " + impl->tokens.folder() + " holds now",
                   "run gca chunk again");
      impl->settings = settings_from_json(index);
      check_chunk_settings(impl->settings);
      for (const auto& [name, entries] :
           {std::pair{"train", &impl->train}, std::pair{"valid", &impl->valid}}) {
        const std::string file = folder + "/" + index.at(name).at("file").get<std::string>();
        const std::string bytes = read_file(file);
        if (sha256_hex(bytes) != index.at(name).at("sha256"))
          fail_usage(file, "is damaged (does not match its checksum)", "run gca chunk again");
        *entries = unpack(bytes);
        impl->check_entries(*entries, file);
      }
      for (const char* split : {"train", "valid"})
        for (const int64_t document : whole_numbers(index.at(split).at("documents")))
          impl->check_document(document, path);
      impl->adopt(whole_numbers(index.at("train").at("documents")),
                  whole_numbers(index.at("valid").at("documents")));
    } catch (const nlohmann::json::exception& error) {
      fail_usage(path, fmt::format("is damaged ({})", error.what()), "run gca chunk again");
    }
  }
  SequenceIndex index;
  index.impl_ = std::move(impl);
  return index;
}

const TokenStore& SequenceIndex::tokens() const {
  return impl_->tokens;
}
const ChunkSettings& SequenceIndex::settings() const {
  return impl_->settings;
}
std::span<const SequenceEntry> SequenceIndex::train() const {
  return impl_->train;
}
std::span<const SequenceEntry> SequenceIndex::valid() const {
  return impl_->valid;
}
std::span<const SequenceEntry> SequenceIndex::held_out() const {
  return impl_->valid.empty() ? impl_->train : impl_->valid;
}
const std::string& SequenceIndex::fingerprint() const {
  return impl_->fingerprint;
}

std::vector<int64_t> SequenceIndex::documents_of(const SequenceEntry& entry) const {
  std::vector<int64_t> documents;
  int64_t document = entry.document;
  int64_t offset = entry.first_token;
  for (int64_t left = entry.tokens + 1; left > 0 && impl_->settle(document, offset);) {
    documents.push_back(document);
    const int64_t count =
        std::min(left, impl_->tokens.documents()[static_cast<size_t>(document)].tokens - offset);
    offset += count;
    left -= count;
  }
  return documents;
}

std::vector<int32_t> SequenceIndex::read(const SequenceEntry& entry, int64_t* next) const {
  std::vector<int32_t> text(static_cast<size_t>(entry.tokens));
  int64_t document = entry.document;
  int64_t offset = entry.first_token;
  size_t filled = 0;
  while (filled < text.size()) {
    if (!impl_->settle(document, offset)) fail_run("sequence", "runs past the end of its text");
    const int64_t left = impl_->tokens.documents()[static_cast<size_t>(document)].tokens - offset;
    const size_t count = std::min(text.size() - filled, static_cast<size_t>(left));
    impl_->tokens.read(document, offset, std::span(text).subspan(filled, count));
    filled += count;
    offset += static_cast<int64_t>(count);
  }
  if (next != nullptr) {
    *next = kNoTarget;
    if (impl_->settle(document, offset)) {
      int32_t id = 0;
      impl_->tokens.read(document, offset, {&id, 1});
      *next = id;
    }
  }
  return text;
}

}  // namespace gca::data
