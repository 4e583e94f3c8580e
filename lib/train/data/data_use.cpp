#include "lib/train/data/data_use.h"

#include <fmt/format.h>

namespace gca::train {

nlohmann::ordered_json data_uses_to_json(std::span<const DataUse> uses) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const DataUse& use : uses)
    list.push_back({{"folder", use.folder},
                    {"share", use.share},
                    {"sequences", use.sequences},
                    {"tokens", use.tokens},
                    {"passes", use.passes}});
  return list;
}

std::string planned_use_text(std::span<const DataUse> uses) {
  std::string text;
  for (const DataUse& use : uses)
    text += fmt::format("data {}: {}{} sequences, {} tokens; {:.2f} passes are planned\n", use.folder,
                        uses.size() > 1 ? fmt::format("{:.1f} % of the tokens, ", 100 * use.share) : "",
                        use.sequences, use.tokens, use.passes);
  return text;
}

}  // namespace gca::train
