#pragma once
// Golden cases of Hugging Face checkpoints: a folder with config.json, weights and expected.safetensors.

#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

/// True for the folder of such a case.
bool is_llama_case(const std::string& path);

/// input/tokens and what the library gave.
GoldenFile load_llama_case(const std::string& folder);

/// Opens the checkpoint and runs the case's tokens; results under the golden names. `jitter` as in model_case.h.
NamedTensors run_llama_case(const std::string& folder, const GoldenFile& golden, at::ScalarType dtype,
                            uint64_t jitter = 0);

}  // namespace gca::golden
