#pragma once
// What a SentencePiece model file says about itself and its processor does not tell: which algorithm, and
// what is done to a text before it is cut into pieces. The file is a protocol buffer; its schema is not part
// of the installed headers.

#include <string>
#include <string_view>

namespace gca::text {

/// Defaults are the schema's.
struct ModelTraits {
  bool is_bpe = false;
  bool has_byte_fallback = false;
  bool has_character_map = false;  ///< characters are rewritten (NFKC and the like)
  bool adds_dummy_prefix = true;   ///< a space before the text
  bool removes_extra_spaces = true;
  bool escapes_spaces = true;         ///< pieces hold U+2581 where the text has a space
  bool has_spaces_as_suffix = false;  ///< words end with their space; a dummy "prefix" is then a suffix

  /// Pieces are cut from the text exactly as it is.
  bool is_identity() const { return !adds_dummy_prefix && is_identity_after_prefix(); }
  /// The same but for a space that may come before the text.
  bool is_identity_after_prefix() const {
    const bool adds_dummy_suffix = adds_dummy_prefix && has_spaces_as_suffix;
    return !has_character_map && !removes_extra_spaces && escapes_spaces && !adds_dummy_suffix;
  }
};

/// A piece without a character, or with a byte of value 0 in it: SentencePiece ends the program when it is
/// given such a model. False also where nothing parses, which SentencePiece then says itself.
bool has_impossible_piece(std::string_view serialized);

/// Reads a serialized model that SentencePiece itself has accepted; fields that do not parse keep their defaults.
ModelTraits read_model_traits(std::string_view serialized);

/// The same model without a space before the text.
std::string without_dummy_prefix(std::string_view serialized);

}  // namespace gca::text
