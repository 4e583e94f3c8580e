#pragma once
// What gca eval reads and how: parts that its tasks share.

#include <span>
#include <string>
#include <variant>
#include <vector>

#include "apps/gca/options/eval_options.h"
#include "lib/eval/eval_document.h"
#include "lib/model/text_model.h"
#include "lib/parallel/communicator.h"

namespace gca::app {

/// The texts of INPUT..., encoded; each ends with the model's end token, where it has one. `tells`: remarks on them go to
/// standard error.
std::vector<eval::EvalDocument> encode_inputs(const EvalOptions& options, const model::TextModel& model,
                                              bool tells);

/// The folder that --data names, of shards or of sequences. Throws Error(usage) when it was written with
/// another tokenizer than the model's, and where --split has no meaning.
std::variant<data::TokenStore, data::SequenceIndex> open_data(const EvalOptions& options,
                                                              const model::TextModel& model);

/// Texts to measure perplexity on, and at what contexts.
struct EvalTexts {
  std::vector<eval::EvalDocument> documents;
  std::vector<int64_t> contexts;  ///< those asked for, else the one trained with, else that of the data
};

/// Throws Error(usage) where there is no document, and where none is as long as a context. `tells` as in encode_inputs().
EvalTexts open_documents(const EvalOptions& options, const model::TextModel& model, bool tells);

/// Throws where ranks have read different texts.
void require_same_texts(parallel::Communicator* ranks, std::span<const eval::EvalDocument> documents);

eval::EvalSplit split_of(const EvalOptions& options);

model::Retriever retriever_of(const std::string& name);

/// A model that chooses nothing retrieves nothing, whatever is asked: its rows say so. Throws Error(usage)
/// where a model without chunk memory is asked to choose from it.
std::vector<std::string> retrievers_of(const EvalOptions& options, const model::ModelConfig& config);

}  // namespace gca::app
