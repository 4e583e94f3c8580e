#pragma once
// The tokenizer's file, as a folder of tokens or a checkpoint carries it.

#include <string>
#include <string_view>

namespace gca::text {

/// The file names of all kinds of tokenizer; where a folder holds several, the first one counts.
inline constexpr const char* kTokenizerFileNames[] = {"tokenizer.model", "tokenizer.json"};

/// The path of the tokenizer in `folder`: that of the first kind where there is none, so that opening it says
/// what is missing.
std::string find_tokenizer_file(const std::string& folder);

/// Whether the content of a file is a tokenizer.json rather than a SentencePiece model.
bool is_tokenizer_json(std::string_view serialized);

/// The name under which a folder carries the tokenizer of this content.
std::string tokenizer_file_name(std::string_view serialized);

}  // namespace gca::text
