#include "lib/generate/kept_tensors.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "lib/core/error.h"

namespace gca::generate {
namespace {

struct TensorType {
  at::ScalarType type;
  const char* name;
};
constexpr TensorType kTypes[] = {
    {at::kFloat, "F32"}, {at::kBFloat16, "BF16"}, {at::kDouble, "F64"}, {at::kInt, "I32"}, {at::kChar, "I8"}};

}  // namespace

std::string name_of(at::ScalarType type) {
  for (const TensorType& one : kTypes)
    if (one.type == type) return one.name;
  fail_run("a tensor that is to be kept", "is of a type that has no name here");
}

const at::Tensor& KeptTensors::add(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor& dense = alive_.emplace_back(tensor.to(at::kCPU).contiguous());
  list_.push_back({name, name_of(dense.scalar_type()), dense.sizes().vec(), dense.const_data_ptr()});
  return dense;
}

at::Tensor copy_of_entry(const SafetensorsFile& file, const std::string& name) {
  const auto found = file.entries().find(name);
  if (found == file.entries().end()) return {};
  const SafetensorsEntry& entry = found->second;
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const TensorType& one) { return one.name == entry.dtype; });
  if (type == std::end(kTypes))
    fail_usage(file.path() + ": " + name, "is of type " + entry.dtype, "save it again");
  at::Tensor tensor = at::empty(entry.shape, type->type);
  std::copy_n(entry.data, entry.size_bytes, static_cast<std::byte*>(tensor.mutable_data_ptr()));
  return tensor;
}

}  // namespace gca::generate
