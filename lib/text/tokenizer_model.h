#pragma once
// What a kind of tokenizer file implements: its ids, and how text becomes ids. The rest of Tokenizer
// (lib/text/tokenizer.h) is common to all kinds.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/text_faults.h"

namespace gca::text {

/// The ids of a tokenizer file.
struct Vocabulary {
  std::vector<std::string>
      bytes_of_id;                  ///< (V) what each stands for; empty for control tokens and ids not in use
  int32_t start_id = -1;            ///< control token that begins a text; -1: the file names none
  int32_t end_id = -1;              ///< control token that ends a text; -1: the file names none
  int32_t unknown_id = -1;          ///< stands for text that is lost; -1: none does
  std::vector<int32_t> prefix_ids;  ///< what the file puts before every text
  bool is_lossless = false;         ///< decoding gives every string of bytes back
};

/// Immutable; its functions may be called from several threads.
class TokenizerModel {
 public:
  virtual ~TokenizerModel() = default;
  virtual const Vocabulary& vocabulary() const = 0;
  /// Appends the ids of `text`, without prefix_ids. `goes_on`: as in Tokenizer::encode().
  virtual void encode(std::string_view text, bool goes_on, std::vector<int32_t>& ids,
                      TextFaults& faults) const = 0;
  /// As Tokenizer::safe_cut().
  virtual size_t safe_cut(std::string_view text, size_t limit) const = 0;
};

/// Each throws Error(usage), naming `where`, for a file that is damaged or has parts that are not supported.
std::unique_ptr<const TokenizerModel> open_sentencepiece_model(const std::string& serialized,
                                                               const std::string& where);
std::unique_ptr<const TokenizerModel> open_byte_level_bpe(const std::string& serialized,
                                                          const std::string& where);

}  // namespace gca::text
