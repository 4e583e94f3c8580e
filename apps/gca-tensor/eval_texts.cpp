#include "apps/gca-tensor/eval_texts.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "apps/gca/process/interrupt.h"
#include "lib/core/error.h"
#include "lib/data/encode_documents.h"
#include "lib/data/sealed_json.h"
#include "lib/model/backbone_kinds.h"
#include "lib/parallel/agreement.h"

namespace gca::app {
namespace {

/// Of the data in `folder`, for models that choose by them.
std::optional<data::ChunkVectors> open_vectors(const std::string& folder, const data::TokenStore& tokens,
                                               const model::ModelConfig& config) {
  if (!model::chooses_by_vectors(config)) return {};
  return data::ChunkVectors::open(folder, tokens, config.chunk_size);
}

/// `data_context` becomes what the data was cut for, where it says so.
std::vector<eval::EvalDocument> read_documents(const EvalOptions& options, const model::TextModel& model,
                                               bool tells, int64_t& data_context) {
  if (options.data.empty()) {
    model::require_choice_without_vectors(model.model.config(), "--checkpoint " + model.folder, "INPUT");
    return encode_inputs(options, model, tells);
  }
  const auto data = open_data(options, model);
  const model::ModelConfig& config = model.model.config();
  if (const auto* tokens = std::get_if<data::TokenStore>(&data))
    return eval::eval_documents(*tokens, open_vectors(options.data, *tokens, config));
  const auto& index = std::get<data::SequenceIndex>(data);
  data_context = index.settings().context;
  const std::optional<data::ChunkVectors> vectors = open_vectors(options.data, index.tokens(), config);
  if (vectors) vectors->require_no_joined(index.settings(), "--data " + options.data);
  std::vector<eval::EvalDocument> documents = eval::eval_documents(index, split_of(options), vectors);
  if (documents.empty())
    fail_usage("--data " + options.data, "has no documents in this split", "choose another --split");
  return documents;
}

std::vector<int64_t> contexts_of(const EvalOptions& options, const model::TextModel& model,
                                 int64_t data_context) {
  if (!options.contexts.empty()) return options.contexts;
  if (model.trained_context > 0) return {model.trained_context};
  if (data_context > 0) return {data_context};
  fail_usage("--context", "is missing, and the checkpoint does not say what it was trained with",
             "give one or more, such as --context 2K,8K");
}

/// A context longer than every document would be told, but nowhere reached.
void require_reachable(std::span<const int64_t> contexts, std::span<const eval::EvalDocument> documents) {
  int64_t longest = 0;
  for (const eval::EvalDocument& document : documents) longest = std::max(longest, document.tokens);
  for (const int64_t context : contexts)
    if (context > longest)
      fail_usage(fmt::format("--context {}", context),
                 fmt::format("the longest document has {} tokens", longest),
                 fmt::format("give at most {}, or longer texts", longest));
}

/// Chunk vectors are of chunks that a document is cut into from its beginning: a stretch begins with one.
void require_on_chunks(const std::string& flag, int64_t tokens, const model::ModelConfig& config) {
  const int64_t text = config.chunk_text_size();
  if (tokens % text != 0)
    fail_usage(
        fmt::format("{} {}", flag, tokens),
        fmt::format("is no multiple of {}, the tokens of the chunks whose vectors this model chooses by",
                    text),
        fmt::format("use {} or another multiple", std::max<int64_t>(1, tokens / text) * text));
}

}  // namespace

EvalTexts open_documents(const EvalOptions& options, const model::TextModel& model, bool tells) {
  int64_t data_context = 0;
  EvalTexts texts;
  texts.documents = read_documents(options, model, tells, data_context);
  require_reachable(options.contexts, texts.documents);
  texts.contexts = contexts_of(options, model, data_context);
  if (const model::ModelConfig& config = model.model.config(); model::chooses_by_vectors(config)) {
    for (const int64_t context : texts.contexts) require_on_chunks("--context", context, config);
    require_on_chunks("--stride", options.stride, config);
  }
  return texts;
}

void require_same_texts(parallel::Communicator* ranks, std::span<const eval::EvalDocument> documents) {
  if (ranks == nullptr) return;
  std::string lengths;
  for (const eval::EvalDocument& document : documents)
    lengths += fmt::format("{} {}\n", document.tokens, document.source_bytes);
  parallel::require_same(*ranks, {{"text", lengths}});
}

std::vector<eval::EvalDocument> encode_inputs(const EvalOptions& options, const model::TextModel& model,
                                              bool tells) {
  text::SourceOptions source_options = options.source;
  source_options.poll = throw_if_interrupted;
  text::DocumentSource source(list_texts(options.inputs), source_options);
  std::vector<eval::EvalDocument> documents;
  std::vector<int32_t> tokens;
  int64_t source_bytes = 0;
  data::EncodeOptions encoding;
  encoding.threads = thread_count(options.common);
  data::encode_documents(source, model.tokenizer, encoding, [&](const data::EncodedBlock& block) {
    tokens.insert(tokens.end(), block.ids.begin(), block.ids.end());
    source_bytes += static_cast<int64_t>(block.text.size());
    if (!block.is_last) return;
    if (model.end_token >= 0) tokens.push_back(model.end_token);
    documents.push_back(eval::eval_document(std::string(block.name), std::exchange(tokens, {}),
                                            std::exchange(source_bytes, 0)));
  });
  if (tells) fmt::print(stderr, "{}", source_remarks(source.counts()));
  return documents;
}

std::variant<data::TokenStore, data::SequenceIndex> open_data(const EvalOptions& options,
                                                              const model::TextModel& model) {
  const std::string where = "--data " + options.data;
  if (data::folder_format(options.data) == data::kTokenFormat) {
    if (options.split != "auto")
      fail_usage("--split", "a shard folder has no splits",
                 "leave it out, or give a folder written by gca chunk");
    data::TokenStore tokens = data::TokenStore::open(options.data);
    model.require_tokenizer(tokens.tokenizer_fingerprint(), where);
    return tokens;
  }
  data::SequenceIndex index = data::SequenceIndex::open(options.data);
  model.require_tokenizer(index.tokens().tokenizer_fingerprint(), where);
  return index;
}

eval::EvalSplit split_of(const EvalOptions& options) {
  if (options.split == "train") return eval::EvalSplit::train;
  if (options.split == "valid") return eval::EvalSplit::valid;
  return eval::EvalSplit::held_out;
}

model::Retriever retriever_of(const std::string& name) {
  if (name == "random") return model::Retriever::random;
  if (name == "recent") return model::Retriever::recent;
  if (name == "none") return model::Retriever::none;
  return model::Retriever::learned;
}

std::vector<std::string> retrievers_of(const EvalOptions& options, const model::ModelConfig& config) {
  const model::ChoiceUnit unit = model::backbone_kind(config).choice_unit;
  if (unit == model::ChoiceUnit::chunk) return options.retrievers;
  for (const std::string& name : options.retrievers)
    if (name == "random" || name == "recent")
      fail_usage("--retriever " + name, "the checkpoint keeps no chunk memory to choose from",
                 unit == model::ChoiceUnit::none ? "leave --retriever out" : "use learned or none");
  return unit == model::ChoiceUnit::none ? std::vector<std::string>{"none"} : options.retrievers;
}

}  // namespace gca::app
