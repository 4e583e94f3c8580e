#pragma once
// Types of the tensors that sessions and prefixes keep, by their names in safetensors files.

#include <ATen/core/ScalarType.h>

#include <string>

#include "lib/core/error.h"

namespace gca::generate {

struct TensorType {
  at::ScalarType type;
  const char* name;
};
inline constexpr TensorType kTensorTypes[] = {
    {at::kFloat, "F32"}, {at::kBFloat16, "BF16"}, {at::kDouble, "F64"}, {at::kInt, "I32"}};

inline std::string name_of(at::ScalarType type) {
  for (const TensorType& one : kTensorTypes)
    if (one.type == type) return one.name;
  fail_run("a tensor that is to be kept", "is of a type that has no name here");
}

/// Throws Error(usage) naming `where` for another type.
inline at::ScalarType type_named(const std::string& name, const std::string& where) {
  for (const TensorType& one : kTensorTypes)
    if (one.name == name) return one.type;
  fail_usage(where, "is of type " + name, "save it again");
}

}  // namespace gca::generate
