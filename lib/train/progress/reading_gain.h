#pragma once
// What reading gains, and what the choice does: the loss with the learned choice, with a random one, and with
// nothing read, on the same sequences (measure_reading.h). No LibTorch.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace gca::train {

/// Losses in nats per token, means over all targets of `sequences` sequences.
struct ReadingGain {
  double learned = 0.0;
  double random = 0.0;
  double none = 0.0;
  double spread = 0.0;  ///< mean over groups of GroupDiagnostics::spread, under the learned choice
  int64_t sequences = 0;

  double of_reading() const { return none - learned; }
  double of_choice() const { return random - learned; }
};

/// {"learned", "random", "none", "spread", "sequences"}, and back; throws nlohmann's exceptions.
nlohmann::ordered_json reading_to_json(const ReadingGain& gain);
ReadingGain reading_from_json(const nlohmann::json& json);

/// "reading gains 0.250, choosing 0.071 nats per token, spread of the scores 0.93".
std::string reading_text(const ReadingGain& gain);

/// Is the choice no better than a random one? Below this gain, in nats per token, it is called dead.
bool is_choice_dead(const ReadingGain& gain);

}  // namespace gca::train
