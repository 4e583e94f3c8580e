#pragma once
// The texts that a model is measured on, whole documents of tokens, and which stretches of them when not all.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/data/chunk_vectors.h"
#include "lib/data/sequence_index.h"
#include "lib/data/token_shard.h"
#include "lib/text/tokenizer.h"

namespace gca::eval {

struct EvalDocument {
  std::string name;
  int64_t tokens = 0;
  /// Copies out.size() ids beginning at token `first`.
  std::function<void(int64_t first, std::span<int32_t> out)> read;
  int64_t source_bytes = 0;  ///< of the text that the tokens stand for
  int64_t vector_size = 0;   ///< e of its chunk vectors (lib/data/chunk_vectors.h); 0: it has none
  /// Copies out.size() / e rows beginning at chunk `first`; empty without vectors.
  std::function<void(int64_t first, std::span<float> out)> read_vectors = {};
};

enum class EvalSplit { held_out, train, valid };

/// The sequences of a split. held_out: valid where there is one, train otherwise.
std::span<const data::SequenceEntry> entries_of(const data::SequenceIndex& index, EvalSplit split);

/// Every document of a shard folder, with their `vectors` where they are given.
std::vector<EvalDocument> eval_documents(const data::TokenStore& tokens,
                                         const std::optional<data::ChunkVectors>& vectors = {});

/// The documents of a split, whole, whatever the context they were cut for. Joined documents are one text, which has no
/// vectors.
std::vector<EvalDocument> eval_documents(const data::SequenceIndex& index, EvalSplit split,
                                         const std::optional<data::ChunkVectors>& vectors = {});

/// One text held in memory.
EvalDocument eval_document(const std::string& name, std::vector<int32_t> tokens, int64_t source_bytes);

/// A piece of a document.
struct EvalSpan {
  int64_t document = 0;
  int64_t first = 0;
  int64_t tokens = 0;
};

/// Cuts the documents into spans of `span_tokens` and takes the first span of each document, then the second
/// of each, and so on, until `max_tokens` are taken (0: all); the last one is cut short. The spans come in
/// the order of the text.
std::vector<EvalSpan> choose_eval_spans(std::span<const EvalDocument> documents, int64_t span_tokens,
                                        int64_t max_tokens);

}  // namespace gca::eval
