#pragma once
// A checkpoint folder opened for work on text: the model and its tokenizer, checked against each other.

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/language_model.h"
#include "lib/text/tokenizer.h"

namespace gca::model {

struct TextModel {
  std::string folder;
  LanguageModel model;
  text::Tokenizer tokenizer;
  int64_t trained_context = 0;  ///< text tokens of a training sequence; 0 when not known
  int32_t end_token = -1;       ///< ends a text, as those it was trained on; -1: none does
  /// Each ends an answer: end_token, and others that an imported model has beside it.
  std::vector<int32_t> end_tokens = {};
  /// Go before every text that the model reads from its beginning: those of an imported model.
  std::vector<int32_t> start_tokens = {};

  /// A checkpoint folder, or a run's folder that holds one. `dtype`: "fp32" or "bf16". Throws Error(usage)
  /// when a file is missing or damaged, or when the tokenizer is not this model's.
  static TextModel open(const std::string& folder, const std::string& dtype, at::Device device = at::kCPU,
                        WeightDtype weight_dtype = WeightDtype::compute);

  /// Throws Error(usage) naming `where` unless tokens made by the tokenizer `fingerprint` are this model's.
  void require_tokenizer(const std::string& fingerprint, const std::string& where) const;

  /// (V) 1 for ids that stand for bytes of text; 0 for the landmark, control pieces and ids without a piece.
  std::vector<uint8_t> text_ids() const;
  /// (V) bytes of source text that each id stands for.
  std::vector<int32_t> id_bytes() const;
};

}  // namespace gca::model
