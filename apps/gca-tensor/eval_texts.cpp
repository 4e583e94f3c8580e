#include "apps/gca-tensor/eval_texts.h"

#include <utility>

#include "apps/gca/interrupt.h"
#include "lib/core/error.h"
#include "lib/data/encode_documents.h"
#include "lib/data/input_files.h"

namespace gca {

std::vector<EvalDocument> encode_inputs(const EvalOptions& options, const Tokenizer& tokenizer) {
  const TextInputs inputs = list_text_inputs(options.inputs);
  std::vector<EvalDocument> documents;
  std::vector<int32_t> tokens;
  EncodeOptions encoding;
  encoding.threads = thread_count(options.common);
  encode_documents(inputs.texts, tokenizer, encoding, [&](const EncodedBlock& block) {
    throw_if_interrupted();
    tokens.insert(tokens.end(), block.ids.begin(), block.ids.end());
    if (!block.is_last) return;
    documents.push_back(
        eval_document(inputs.texts[static_cast<size_t>(block.document)].name, std::move(tokens)));
    tokens.clear();
  });
  return documents;
}

Retriever retriever_of(const std::string& name) {
  if (name == "random") return Retriever::random;
  if (name == "recent") return Retriever::recent;
  if (name == "none") return Retriever::none;
  return Retriever::learned;
}

std::vector<std::string> retrievers_of(const EvalOptions& options, const ModelConfig& config) {
  if (config.uses_retrieval()) return options.retrievers;
  for (const std::string& name : options.retrievers)
    if (name == "random" || name == "recent")
      fail_usage("--retriever " + name, "the checkpoint is a sliding-window model", "leave --retriever out");
  return {"none"};
}

}  // namespace gca
