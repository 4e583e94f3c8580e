#include "lib/inspect/retrieval_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "lib/core/utf8.h"

namespace gca {
namespace {

constexpr const char* kReset = "\033[0m";
constexpr const char* kBold = "\033[1m";
constexpr const char* kDim = "\033[2m";

/// One character of `text` as shown, removed from its front.
std::string take_escaped(std::string_view& text) {
  const size_t length = first_utf8_sequence(text).length;
  const auto byte = static_cast<unsigned char>(text[0]);
  // U+0080 to U+009F, the second set of control characters, is C2 80 to C2 9F in UTF-8.
  const bool is_c1 = length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
  const size_t taken = std::max<size_t>(length, 1);
  const std::string_view character = text.substr(0, taken);
  text.remove_prefix(taken);
  if (byte == '\n') return "\\n";
  if (byte == '\t') return "\\t";
  if (byte == '\r') return "\\r";
  if (is_c1) return fmt::format("\\x{:02x}\\x{:02x}", byte, static_cast<unsigned char>(character[1]));
  if (length == 0 || byte < 0x20 || byte == 0x7F) return fmt::format("\\x{:02x}", byte);
  return std::string(character);
}

int64_t columns_of(const std::string& shown) {
  return std::count_if(shown.begin(), shown.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
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

}  // namespace

std::string one_line(std::string_view text, int64_t width) {
  constexpr const char* kMore = "...";
  std::string shown;
  size_t end_with_more = 0;  // bytes of `shown` that leave room for kMore
  int64_t columns = 0;
  while (!text.empty()) {
    const std::string character = take_escaped(text);
    columns += columns_of(character);
    if (columns > width) return shown.substr(0, end_with_more) + kMore;
    shown += character;
    if (columns <= width - 3) end_with_more = shown.size();
  }
  return shown;
}

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
        fmt::format_to(out, "  group {}  {:>6}  {:>9.4f}  {:.4f} {}  {}{}{}\n", group, chunk.chunk,
                       chunk.score, chunk.weight, weight_bar(chunk.weight), paint(kDim),
                       one_line(text_of(chunk.chunk), retrieved_width), paint(kReset));
      }
    }
    table += '\n';
  }
  return table;
}

}  // namespace gca
