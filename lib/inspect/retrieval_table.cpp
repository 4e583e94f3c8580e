#include "lib/inspect/retrieval_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "lib/core/one_line.h"

namespace gca::inspect {
namespace {

constexpr const char* kReset = "\033[0m";
constexpr const char* kBold = "\033[1m";
constexpr const char* kDim = "\033[2m";

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

std::string retrieval_table(std::span<const ChunkReading> readings,
                            const std::function<std::string(int64_t chunk)>& text_of,
                            const RetrievalTableOptions& options) {
  const auto paint = [&](const char* colour) { return options.colour ? colour : ""; };
  const int64_t text_width = std::max<int64_t>(options.width - 2, 20);
  const int64_t retrieved_width = std::max<int64_t>(options.width - 45, 20);
  std::string table = fmt::format("{}{:>9}  {:>6}  {:>9}  {:15}  text{}\n\n", paint(kDim), "read by", "chunk",
                                  "score", "weight", paint(kReset));
  const auto out = std::back_inserter(table);
  for (const ChunkReading& reading : readings) {
    fmt::format_to(out, "{}chunk {}{}  tokens {}-{}\n", paint(kBold), reading.chunk, paint(kReset),
                   reading.first_token, reading.first_token + reading.tokens - 1);
    fmt::format_to(out, "  {}\n", one_line(text_of(reading.chunk), text_width));
    for (size_t group = 0; group < reading.groups.size(); ++group) {
      if (reading.groups[group].empty())
        fmt::format_to(out, "  {}group {}  read nothing{}\n", paint(kDim), group, paint(kReset));
      for (const RetrievedChunk& chunk : reading.groups[group]) {
        const ChunkPlace place =
            chunk.chunk < 0 ? options.place_of(chunk.chunk) : ChunkPlace{{}, chunk.chunk};
        const std::string name = place.document.empty() ? "" : file_name(place.document) + ": ";
        fmt::format_to(out, "  group {}  {:>6}  {:>9.4f}  {:.4f} {}  {}{}{}{}\n", group, place.chunk,
                       chunk.score, chunk.weight, weight_bar(chunk.weight), name, paint(kDim),
                       one_line(text_of(chunk.chunk), retrieved_width), paint(kReset));
      }
    }
    table += '\n';
  }
  return table;
}

}  // namespace gca::inspect
