#pragma once
// Tensors of a golden file (tests/golden/README.md) as LibTorch tensors.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace gca::golden {

struct GoldenFile {
  std::map<std::string, at::Tensor> tensors;  ///< float32 and int32, owned copies
  std::map<std::string, std::string> metadata;
};

GoldenFile load_golden_file(const std::string& path);

/// A model case: inputs and weights from NAME.safetensors, with NAME.act.safetensors and
/// NAME.grad.safetensors beside it where they exist, all merged.
GoldenFile load_model_case(const std::string& path);

/// True for NAME.act.safetensors and NAME.grad.safetensors, which belong to a case of another file.
bool is_companion(const std::string& path);

}  // namespace gca::golden
