#pragma once
// tokenizer.json, the file of the `tokenizers` library, as far as it describes byte-level BPE.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace gca::text {

/// A token that is cut out of the text before it is cut into pieces.
struct AddedToken {
  int32_t id = 0;
  std::string text;
  bool is_special = false;     ///< stands for no text: it is not printed
  bool is_normalized = false;  ///< looked for in the normalised text, not in the original
};

struct TokenizerJson {
  std::vector<std::pair<std::string, int32_t>> vocab;       ///< token strings (byte_alphabet.h) and ids
  std::vector<std::pair<std::string, std::string>> merges;  ///< in the order of their ranks
  std::string unknown_token;                                ///< "": bytes without a token are left out
  bool ignores_merges = false;                              ///< a piece that is a token stays whole
  bool normalizes_nfc = false;
  std::vector<std::string> split_patterns;  ///< each cuts the pieces of the one before
  std::vector<AddedToken> added_tokens;
  std::vector<int32_t> prefix_ids;  ///< before every text
};

/// The pattern of GPT-2, which a ByteLevel pre-tokenizer cuts by.
extern const char* const kByteLevelPattern;

/// Throws Error(usage) that names `where`, and the part that is damaged or not supported. Supported are a BPE
/// model without byte_fallback; the normalizer NFC; the pre-tokenizers Split (Regex, Isolated), Digits
/// (individual_digits) and ByteLevel, which comes last; the post-processors ByteLevel and TemplateProcessing
/// with tokens before the text; the decoder ByteLevel.
TokenizerJson parse_tokenizer_json(const std::string& text, const std::string& where);

}  // namespace gca::text
