#include "lib/inspect/retrieval_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>
#include <vector>

namespace gca::inspect {
namespace {

constexpr std::string_view kShades = " .:-=+*#%@";
/// Columns left of the picture: the number of the first chunk of a row.
constexpr int64_t kMargin = 9;

/// Weights above 0 are never blank.
char shade_of(double weight) {
  if (weight <= 0) return kShades.front();
  const auto steps = static_cast<double>(kShades.size() - 1);
  const auto step = static_cast<size_t>(std::ceil(std::min(weight, 1.0) * steps));
  return kShades[std::clamp<size_t>(step, 1, kShades.size() - 1)];
}

}  // namespace

std::string retrieval_map(std::span<const ChunkReading> readings, size_t reader, const std::string& name,
                          int64_t width) {
  const auto chunks = static_cast<int64_t>(readings.size());
  const int64_t bins = std::clamp<int64_t>(width - kMargin, 1, std::max<int64_t>(chunks, 1));
  const auto bin_of = [&](int64_t chunk) { return chunk * bins / chunks; };
  std::vector<double> weights(static_cast<size_t>(bins * bins), 0.0);
  for (const ChunkReading& reading : readings) {
    for (const RetrievedChunk& read : reading.readers[reader]) {
      if (read.chunk < 0) continue;
      double& cell = weights[static_cast<size_t>(bin_of(reading.chunk) * bins + bin_of(read.chunk))];
      cell = std::max(cell, read.weight);
    }
  }

  std::string picture =
      fmt::format("{}: chunks read (across) by chunk (down), weight 0 to 1 as '{}'", name, kShades);
  picture += chunks > bins ? fmt::format(", {:.1f} chunks a cell\n",
                                         static_cast<double>(chunks) / static_cast<double>(bins))
                           : "\n";
  for (int64_t row = 0; row < bins; ++row) {
    fmt::format_to(std::back_inserter(picture), "{:>7} |", (row * chunks + bins - 1) / bins);
    std::string line;
    for (int64_t column = 0; column <= row; ++column)
      line += shade_of(weights[static_cast<size_t>(row * bins + column)]);
    picture += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return picture;
}

}  // namespace gca::inspect
