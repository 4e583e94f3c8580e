#pragma once
// From texts to token ids with all threads, in bounded memory: regular files are mapped and cut into blocks
// where no piece can span the cut, streams are read block by block; blocks are encoded side by side and
// handed on in order.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/data/input_files.h"
#include "lib/text/tokenizer.h"

namespace gca {

struct EncodedBlock {
  int64_t document = 0;   ///< number of the input
  bool is_first = false;  ///< begins its document
  bool is_last = false;   ///< ends its document
  std::string_view text;  ///< the bytes encoded, alive during the call only
  std::vector<int32_t> ids;
  TextFaults faults;
};

struct EncodeOptions {
  int threads = 1;
  size_t block_bytes = size_t{1} << 20;  ///< of text, as near as a safe cut allows
  /// Called before each block and when a signal cuts a wait for input short; may throw to stop.
  std::function<void()> poll = [] {};
};

/// Calls `sink` once per block, in the order of the text, from the calling thread. Every input gives at least
/// one block; an empty one gives an empty block.
void encode_documents(std::span<const TextInput> inputs, const Tokenizer& tokenizer,
                      const EncodeOptions& options, const std::function<void(const EncodedBlock&)>& sink);

}  // namespace gca
