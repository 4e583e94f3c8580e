#include "lib/data/chunk_vectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "lib/core/checksums/checksum.h"
#include "lib/core/error.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/core/half_float.h"

namespace gca::data {
namespace {

constexpr const char* kRemedy = "write it again (examples/chunk_vectors.py is an example)";

/// The file of `folder`, or else that of the tokens.
std::string find_file(const std::string& folder, const TokenStore& tokens) {
  for (const std::string& place : {folder, tokens.folder()}) {
    const std::string path = place + "/" + kChunkVectorsFile;
    if (std::filesystem::exists(path)) return path;
  }
  fail_usage(tokens.folder() + "/" + kChunkVectorsFile,
             "is not there, and a model with retriever frozen chooses chunks by it",
             "write it (examples/chunk_vectors.py is an example)");
}

/// Numbers of `dtype` at `from` as float32.
void to_floats(const std::string& dtype, const std::byte* from, std::span<float> out) {
  if (dtype == "F32") {
    std::memcpy(out.data(), from, out.size_bytes());
    return;
  }
  const auto convert = dtype == "F16" ? half_to_float : bfloat16_to_float;
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, from + i * sizeof(bits), sizeof(bits));
    out[i] = convert(bits);
  }
}

const std::string& metadata_of(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    fail_usage(file.path(), "does not say what it was made of: its metadata has no \"" + key + "\"", kRemedy);
  return found->second;
}

}  // namespace

struct ChunkVectors::Impl {
  explicit Impl(const std::string& path) : file(path) {}

  SafetensorsFile file;
  SafetensorsEntry vectors;
  int64_t size = 0;
  int64_t chunk_text = 0;
  std::vector<int64_t> first_rows;  ///< by document; behind the last, the number of rows
  std::string fingerprint;

  int64_t rows() const { return first_rows.back(); }

  void read_rows(int64_t first, std::span<float> out) const {
    const auto offset = static_cast<size_t>(first * size) * safetensors_dtype_size(vectors.dtype);
    to_floats(vectors.dtype, vectors.data + offset, out);
  }

  void require_finite() const {
    std::vector<float> row(static_cast<size_t>(size));
    for (int64_t i = 0; i < rows(); ++i) {
      read_rows(i, row);
      if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); }))
        fail_usage(file.path(), fmt::format("row {} holds a number that is not finite", i), kRemedy);
    }
  }
};

ChunkVectors ChunkVectors::open(const std::string& folder, const TokenStore& tokens, int64_t chunk_size) {
  auto impl = std::make_shared<Impl>(find_file(folder, tokens));
  const SafetensorsFile& file = impl->file;
  const std::string& path = file.path();
  const auto found = file.entries().find("vectors");
  if (found == file.entries().end()) fail_usage(path, "has no tensor \"vectors\"", kRemedy);
  impl->vectors = found->second;
  const SafetensorsEntry& vectors = impl->vectors;
  if (vectors.dtype != "F32" && vectors.dtype != "F16" && vectors.dtype != "BF16")
    fail_usage(path, "its vectors are " + vectors.dtype, "write F32, F16 or BF16");
  if (vectors.shape.size() != 2 || vectors.shape[1] < 1)
    fail_usage(path, "its vectors are not rows of one or more numbers", kRemedy);
  if (const std::string& made_for = metadata_of(file, "chunk_size"); made_for != std::to_string(chunk_size))
    fail_usage(path,
               fmt::format("is of chunks of size {}, the model's chunk_size is {}", made_for, chunk_size),
               kRemedy);
  if (metadata_of(file, "tokens") != tokens.content_fingerprint())
    fail_usage(path, "was made of other tokens than " + tokens.folder() + " holds now", kRemedy);

  impl->size = vectors.shape[1];
  impl->chunk_text = chunk_size - 1;
  impl->first_rows.push_back(0);
  for (const TokenDocument& document : tokens.documents())
    impl->first_rows.push_back(impl->first_rows.back() +
                               (document.tokens + impl->chunk_text - 1) / impl->chunk_text);
  if (vectors.shape[0] != impl->rows())
    fail_usage(path,
               fmt::format("has {} rows, the tokens have {} chunks of {} tokens", vectors.shape[0],
                           impl->rows(), impl->chunk_text),
               kRemedy);
  file.verify();
  impl->require_finite();
  Checksum checksum;
  checksum.update(fmt::format("{} {} ", vectors.dtype, impl->size));
  checksum.update(vectors.data, vectors.size_bytes);
  impl->fingerprint = checksum.text();
  ChunkVectors opened;
  opened.impl_ = std::move(impl);
  return opened;
}

int64_t ChunkVectors::size() const {
  return impl_->size;
}
int64_t ChunkVectors::chunk_text() const {
  return impl_->chunk_text;
}
const std::string& ChunkVectors::fingerprint() const {
  return impl_->fingerprint;
}

void ChunkVectors::read(int64_t document, int64_t first, std::span<float> out) const {
  const int64_t begin = impl_->first_rows.at(static_cast<size_t>(document)) + first;
  const int64_t end = begin + static_cast<int64_t>(out.size()) / impl_->size;
  if (first < 0 || end > impl_->first_rows.at(static_cast<size_t>(document) + 1))
    fail_run(impl_->file.path(), fmt::format("was asked for rows {} to {}, beyond its document", begin, end));
  impl_->read_rows(begin, out);
}

void ChunkVectors::require_no_joined(const ChunkSettings& settings, const std::string& where) {
  if (settings.join_documents)
    fail_usage(where, "joins documents, whose chunks then are not those that chunk vectors are of",
               "run gca chunk without --join-documents");
}

void ChunkVectors::require_on_chunks(const ChunkSettings& settings, std::span<const SequenceEntry> entries,
                                     const std::string& where) const {
  const int64_t text = impl_->chunk_text;
  require_no_joined(settings, where);
  for (const SequenceEntry& entry : entries)
    if (entry.first_token % text != 0)
      fail_usage(
          where,
          fmt::format("its sequences of {} tokens do not begin with chunks of {}, which chunk vectors are of",
                      settings.context, text),
          fmt::format("use a context that is a multiple of {}, such as {}", text,
                      std::max<int64_t>(1, settings.context / text) * text));
}

}  // namespace gca::data
