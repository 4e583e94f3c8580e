#pragma once
// Golden cases of tokenizers: a folder with tokenizer.json or tokenizer.model, and expected.json, a list of
// texts with their ids.

#include <string>
#include <vector>

#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

bool is_tokenizer_case(const std::string& path);

/// "ids" (with what goes before a text), "plain_ids" (without) and "cut_ids" (the text cut at every place
/// that is safe): the number of texts whose ids are others. None may be.
std::vector<Quantity> check_tokenizer(const std::string& path);

}  // namespace gca::golden
