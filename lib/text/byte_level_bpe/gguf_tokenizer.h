#pragma once
// The tokenizer in the metadata of a GGUF file.

#include <string>

#include "lib/core/files/gguf_file.h"

namespace gca::text {

/// The same tokenizer as the content of a tokenizer.json, which Tokenizer::from_serialized() opens and other
/// programs read. For tokenizer.ggml.model "gpt2" (byte-level BPE) with a tokenizer.ggml.pre that is known;
/// Error(usage) naming key and value for others. ("llama" is SentencePiece without its model file.)
std::string tokenizer_json_of(const GgufFile& file);

}  // namespace gca::text
