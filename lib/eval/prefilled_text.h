#pragma once
// Texts that differ in a few places, read up to the place where something is asked of them.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/data/haystack.h"
#include "lib/data/text_edit.h"
#include "lib/model/language_model.h"
#include "lib/model/memory/stored_chunk_memory.h"
#include "lib/model/text_feeder.h"

namespace gca::eval {

/// A stretch of a haystack with edits.
struct EditedText {
  int64_t haystack_first = 0;  ///< number of the haystack's token that is text token 0
  std::span<const data::TextEdit> edits;

  std::vector<int32_t> read(const data::Haystack& haystack, int64_t first, int64_t count) const;
};

struct PrefillOptions {
  model::ForwardOptions forward = {};
  std::vector<int32_t> start_tokens = {};             ///< before a text that is read from its beginning
  int64_t segment_positions = 0;                      ///< as in TextFeeder
  model::MemoryPlace memory = {};                     ///< of the chunk memory of a whole text
  int threads = 1;                                    ///< that read a haystack
  std::function<void(int64_t tokens)> progress = {};  ///< called while a haystack is read; may throw to stop
};

/// Gives a feeder that has read the first `tokens` tokens of a text, whole chunks: what it says of later
/// tokens is what the model says after the whole text.
class PrefilledText {
 public:
  virtual ~PrefilledText() = default;
  virtual model::TextFeeder prefill(const EditedText& text, int64_t tokens) = 0;
  /// Spent so far on what several texts share.
  virtual double shared_seconds() const { return 0; }
};

/// The plain way: every text from its first token on, all layers. Only a model without retrieval, whose
/// windows reach no further, begins where they do.
std::unique_ptr<PrefilledText> plain_prefill(const model::LanguageModel& model,
                                             const data::Haystack& haystack, const PrefillOptions& options);

/// Chunk memory of a haystack is read once; for each text only the chunks that its edits reach are made
/// again, and the upper layers run where something is asked. The same results
/// (lib/model/memory/memory_reader.h). One haystack is kept: texts that begin at the same place of it should
/// come one after the other.
std::unique_ptr<PrefilledText> patched_prefill(const model::LanguageModel& model,
                                               const data::Haystack& haystack, const PrefillOptions& options);

}  // namespace gca::eval
