#pragma once
// A Llama in a GGUF file of llama.cpp: architecture "llama", weights of any type that the reader decodes.

#include <nlohmann/json.hpp>

#include "lib/core/files/gguf_file.h"
#include "lib/model/language_model.h"

namespace gca::model {

/// The model that the file's metadata describe. Throws Error(usage) naming key and value where something is
/// asked for that this program does not compute.
ModelConfig gguf_config(const GgufFile& file);

/// The model with its weights, float32 masters. Rows of queries and keys, which the file keeps in interleaved
/// pairs, are put into the order of two halves. Throws Error(usage) where a tensor is missing, of another shape or one
/// too many.
LanguageModel load_gguf(const GgufFile& file);

/// bos_token_id and eos_token_id, where the file names them, as a config.json has them.
nlohmann::ordered_json gguf_token_ids(const GgufFile& file);

}  // namespace gca::model
