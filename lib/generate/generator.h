#pragma once
// Continues a prompt: prefill in segments, then one token at a time.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lib/generate/generation_options.h"
#include "lib/generate/text_session.h"
#include "lib/model/text_model.h"

namespace gca::generate {

struct Generation {
  std::vector<int32_t> tokens;   ///< new tokens
  std::string text;              ///< their bytes, without a stop text
  bool stopped = false;          ///< a stop text came
  bool ended = false;            ///< the end token was drawn: it is the last of `tokens`, and has no text
  int64_t chunks_retrieved = 0;  ///< different chunks that the new tokens were drawn with
  double prefill_seconds = 0;
  double decode_seconds = 0;
  double first_token_seconds = 0;  ///< from the call until the first new token was drawn; 0 when none was
  int64_t memory_bytes = 0;        ///< windows, open chunk and chunk memory at the end
};

/// Goes on after the text of `session` with `prompt`, and leaves in it all that was read and drawn, the last
/// token included. `show` gets the text as it comes; `interrupted` is asked before each segment of the prompt
/// and before each token. Upper layers are run only where the last token of the prompt needs them
/// (TextFeeder::unneeded()). The landmark and control pieces are never drawn, but for the end token of a
/// model that has one: it ends the text. Throws Error(usage) when there is nothing to continue: an empty
/// prompt after an empty text.
Generation generate(const model::TextModel& model, std::span<const int32_t> prompt,
                    const GenerationOptions& options, TextSession& session,
                    const std::function<void(const std::string&)>& show,
                    const std::function<bool()>& interrupted);

}  // namespace gca::generate
