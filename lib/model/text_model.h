#pragma once
// A checkpoint folder opened for work on text: the model and its tokenizer, checked against each other.

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/drt.h"
#include "lib/text/tokenizer.h"

namespace gca {

struct TextModel {
  std::string folder;
  Drt model;
  Tokenizer tokenizer;

  /// Throws Error(usage) when a file is missing or damaged, or when the tokenizer is not this model's.
  static TextModel open(const std::string& folder, at::ScalarType compute_dtype);

  /// Throws Error(usage) naming `where` unless tokens made by the tokenizer `fingerprint` are this model's.
  void require_tokenizer(const std::string& fingerprint, const std::string& where) const;

  /// (V) 1 for ids that stand for bytes of text; 0 for the landmark, control pieces and ids without a piece.
  std::vector<uint8_t> text_ids() const;
};

}  // namespace gca
