#include "lib/train/progress/reading_gain.h"

#include <fmt/format.h>

namespace gca::train {
namespace {

constexpr double kDeadGain = 0.002;  // two standard errors of the difference over some thousand targets

}  // namespace

nlohmann::ordered_json reading_to_json(const ReadingGain& gain) {
  return {{"learned", gain.learned},
          {"random", gain.random},
          {"none", gain.none},
          {"spread", gain.spread},
          {"sequences", gain.sequences}};
}

ReadingGain reading_from_json(const nlohmann::json& json) {
  return {json.at("learned").get<double>(), json.at("random").get<double>(), json.at("none").get<double>(),
          json.at("spread").get<double>(), json.at("sequences").get<int64_t>()};
}

std::string reading_text(const ReadingGain& gain) {
  return fmt::format("reading gains {:.3f}, choosing {:.3f} nats per token, spread of the scores {:.2f}",
                     gain.of_reading(), gain.of_choice(), gain.spread);
}

bool is_choice_dead(const ReadingGain& gain) {
  return gain.of_choice() < kDeadGain;
}

}  // namespace gca::train
