#include "tests/golden_check/golden_file.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <filesystem>

#include "lib/core/error.h"
#include "lib/core/files/safetensors_file.h"

namespace gca::golden {
namespace {

const std::string kEnding = ".safetensors";

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

at::ScalarType type_of(const std::string& dtype, const std::string& where) {
  if (dtype == "F32") return at::kFloat;
  if (dtype == "F64") return at::kDouble;
  if (dtype == "I32") return at::kInt;
  fail_usage(where, "is of type " + dtype, "golden files hold F32, F64 and I32");
}

}  // namespace

GoldenFile load_golden_file(const std::string& path) {
  const SafetensorsFile file(path);
  GoldenFile golden;
  golden.metadata = file.metadata();
  for (const auto& [name, entry] : file.entries()) {
    at::Tensor tensor = at::empty(entry.shape, type_of(entry.dtype, path + ": " + name));
    std::copy_n(entry.data, entry.size_bytes, static_cast<std::byte*>(tensor.mutable_data_ptr()));
    golden.tensors[name] = tensor;
  }
  return golden;
}

GoldenFile load_model_case(const std::string& path) {
  GoldenFile golden = load_golden_file(path);
  const std::string stem = path.substr(0, path.size() - kEnding.size());
  for (const char* companion : {".act", ".grad"}) {
    const std::string beside = stem + companion + kEnding;
    if (!std::filesystem::exists(beside)) continue;
    for (const auto& [name, tensor] : load_golden_file(beside).tensors) golden.tensors[name] = tensor;
  }
  return golden;
}

bool is_companion(const std::string& path) {
  return ends_with(path, ".act" + kEnding) || ends_with(path, ".grad" + kEnding);
}

}  // namespace gca::golden
