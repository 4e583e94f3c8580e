#pragma once
// Files of chunk vectors, as another program would write them.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/core/files/safetensors_file.h"

namespace gca::testing {

/// N rows of `size` numbers.
struct VectorsFile {
  std::string dtype = "F32";
  int64_t size = 0;
  std::string bytes;
  std::map<std::string, std::string> metadata;
  std::string tensor = "vectors";

  int64_t rows() const { return static_cast<int64_t>(bytes.size() / safetensors_dtype_size(dtype)) / size; }
  void write(const std::string& path) const {
    const SafetensorsTensor rows_of_file{tensor, dtype, {rows(), size}, bytes.data()};
    write_safetensors(path, {&rows_of_file, 1}, metadata);
  }
};

/// Of float32 `values`, for tokens whose index has the seal `tokens`.
inline VectorsFile vectors_file(const std::vector<float>& values, int64_t size, int64_t chunk_size,
                                const std::string& tokens) {
  return {.dtype = "F32",
          .size = size,
          .bytes = std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)),
          .metadata = {{"chunk_size", std::to_string(chunk_size)}, {"tokens", tokens}}};
}

/// Numbers in (-1, 1) that look random, the same for the same seed.
inline std::vector<float> some_numbers(int64_t count, uint32_t seed = 1) {
  std::vector<float> numbers;
  uint32_t state = seed * 2654435761U + 12345U;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525U + 1013904223U;
    numbers.push_back(static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.0F);
  }
  return numbers;
}

}  // namespace gca::testing
