#pragma once
// How a prompt is continued.

#include <cstdint>
#include <string>
#include <vector>

#include "lib/generate/sampler.h"

namespace gca::profile {
class OperatorProfile;
}  // namespace gca::profile

namespace gca::generate {

struct GenerationOptions {
  SamplingOptions sampling;
  int64_t max_new_tokens = 256;
  uint64_t seed = 0;  ///< token n drawn of a session is drawn by number n of this seed, whatever the prompt
  std::vector<std::string> stop_texts;  ///< each ends the text where it comes; none is empty
  bool keeps_session = false;      ///< the last token is read, too, so that the session can go on after it
  int64_t instruction_tokens = 0;  ///< last of the prompt; for the cache policy citrus
  int64_t segment_positions = 0;   ///< of prefill; 0: chosen by default_segment_positions()
  profile::OperatorProfile* prefill_profile = nullptr;  ///< collects the prefill; null: none
  profile::OperatorProfile* decode_profile = nullptr;
};

}  // namespace gca::generate
