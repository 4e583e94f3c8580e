#include "lib/inspect/retrieval_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

#include "lib/core/one_line.h"

namespace gca::inspect {
namespace {

constexpr const char* kReset = "\033[0m";
constexpr const char* kBold = "\033[1m";
constexpr const char* kDim = "\033[2m";

constexpr const char* kReadBy = "read by";

bool positions_choose(std::span<const ChunkReading> readings) {
  for (const ChunkReading& reading : readings)
    for (const auto& read : reading.readers)
      if (!read.empty()) return read.front().chosen_by > 0;
  return false;
}

/// Eighths of a block, 8 columns for weight 1.
std::string weight_bar(double weight) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<int64_t>(std::lround(std::clamp(weight, 0.0, 1.0) * 64));
  std::string bar;
  for (int64_t i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  return bar + std::string(static_cast<size_t>(8 - (eighths + 7) / 8), ' ');
}

/// The last part of a path, on one line.
std::string file_name(const std::string& path) {
  return one_line(path.substr(path.find_last_of('/') + 1), 60);
}

}  // namespace

std::string retrieval_table(std::span<const ChunkReading> readings, std::span<const std::string> readers,
                            const std::function<std::string(int64_t chunk)>& text_of,
                            const RetrievalTableOptions& options) {
  const auto paint = [&](const char* colour) { return options.colour ? colour : ""; };
  const int64_t text_width = std::max<int64_t>(options.width - 2, 20);
  size_t name_width = std::string_view(kReadBy).size();
  for (const std::string& name : readers) name_width = std::max(name_width, name.size());
  const int64_t retrieved_width =
      std::max<int64_t>(options.width - 38 - static_cast<int64_t>(name_width), 20);
  std::string table =
      fmt::format("{}  {:>{}}  {:>6}  {:>9}  {:15}  text{}\n\n", paint(kDim), kReadBy, name_width, "chunk",
                  positions_choose(readings) ? "tokens" : "score", "weight", paint(kReset));
  const auto out = std::back_inserter(table);
  for (const ChunkReading& reading : readings) {
    fmt::format_to(out, "{}chunk {}{}  tokens {}-{}\n", paint(kBold), reading.chunk, paint(kReset),
                   reading.first_token, reading.first_token + reading.tokens - 1);
    fmt::format_to(out, "  {}\n", one_line(text_of(reading.chunk), text_width));
    for (size_t reader = 0; reader < readers.size(); ++reader) {
      if (reading.readers[reader].empty())
        fmt::format_to(out, "  {}{:{}}  read nothing{}\n", paint(kDim), readers[reader], name_width,
                       paint(kReset));
      for (const RetrievedChunk& chunk : reading.readers[reader]) {
        const ChunkPlace place =
            chunk.chunk < 0 ? options.place_of(chunk.chunk) : ChunkPlace{{}, chunk.chunk};
        const std::string name = place.document.empty() ? "" : file_name(place.document) + ": ";
        const std::string why = chunk.chosen_by > 0 ? fmt::format("{} of {}", chunk.chosen_by, reading.tokens)
                                                    : fmt::format("{:.4f}", chunk.score);
        fmt::format_to(out, "  {:{}}  {:>6}  {:>9}  {:.4f} {}  {}{}{}{}\n", readers[reader], name_width,
                       place.chunk, why, chunk.weight, weight_bar(chunk.weight), name, paint(kDim),
                       one_line(text_of(chunk.chunk), retrieved_width), paint(kReset));
      }
    }
    table += '\n';
  }
  return table;
}

}  // namespace gca::inspect
