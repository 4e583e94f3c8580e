#pragma once
// Tensors that sessions and prefixes keep in safetensors files.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lib/core/files/safetensors_file.h"

namespace gca::generate {

/// The name of a type in safetensors files; Error(failed) for one that is not kept.
std::string name_of(at::ScalarType type);

/// Tensors on the way into a file.
class KeptTensors {
 public:
  /// Adds what is defined, dense and on the CPU, and keeps it alive; returns it so.
  const at::Tensor& add(const std::string& name, const at::Tensor& tensor);
  const std::vector<SafetensorsTensor>& list() const { return list_; }

 private:
  std::vector<at::Tensor> alive_;
  std::vector<SafetensorsTensor> list_;
};

/// A copy of the entry `name`; undefined where the file has none. Throws Error(usage) for another type than those
/// that are kept.
at::Tensor copy_of_entry(const SafetensorsFile& file, const std::string& name);

}  // namespace gca::generate
