#pragma once
// The order in which CItruS runs a text: chunk after chunk of the context, before each of them the instruction to
// choose by, at the end the instruction itself.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>

#include "lib/model/kv_cache/citrus_cache.h"
#include "lib/model/language_model.h"

namespace gca::model {

class CitrusReading {
 public:
  /// `past` keeps its keys in `cache`, both new; all must outlive the reading.
  CitrusReading(const LanguageModel& model, Past& past, CitrusCache& cache,
                std::span<const int32_t> instruction)
      : model_(model), past_(past), cache_(cache), instruction_(instruction) {}

  /// Reads the context in chunks of the policy's size.
  void read_context(std::span<const int32_t> context) const;
  /// Keeps what the instruction wants of it.
  void choose() const;
  /// Runs the instruction: the hidden state (1, 1, d) after its last token.
  at::Tensor read_instruction() const;

 private:
  at::Tensor run(std::span<const int32_t> tokens) const;
  void ask() const;

  const LanguageModel& model_;
  Past& past_;
  CitrusCache& cache_;
  std::span<const int32_t> instruction_;
};

}  // namespace gca::model
