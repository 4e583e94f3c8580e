#pragma once
// What gca eval reads and how: parts that its tasks share.

#include <string>
#include <vector>

#include "apps/gca/eval_options.h"
#include "lib/eval/eval_document.h"
#include "lib/model/text_model.h"

namespace gca {

/// The texts of INPUT..., encoded.
std::vector<EvalDocument> encode_inputs(const EvalOptions& options, const Tokenizer& tokenizer);

Retriever retriever_of(const std::string& name);

/// A sliding-window model reads nothing, whatever is asked: its rows say so. Throws Error(usage) where it is
/// asked to choose.
std::vector<std::string> retrievers_of(const EvalOptions& options, const ModelConfig& config);

}  // namespace gca
