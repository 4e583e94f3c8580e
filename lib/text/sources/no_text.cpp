#include "lib/text/sources/no_text.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/core/files/atomic_file.h"
#include "lib/core/utf8.h"

namespace gca::text {
namespace {

namespace fs = std::filesystem;

/// Those that no text has; an escape begins the colours of a log, a backspace overstrikes.
bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 && !(byte >= 0x08 && byte <= 0x0D) && byte != 0x1B;
}

/// Bytes that are no UTF-8, but for a sequence that only the end of `head` cuts.
bool has_invalid_utf8(std::string_view head) {
  head.remove_prefix(valid_utf8_prefix(head));
  return !head.empty() && !first_utf8_sequence(head).is_cut;
}

}  // namespace

bool is_binary(std::string_view head) {
  constexpr size_t kFewBytes = 32;
  const auto controls = static_cast<size_t>(std::count_if(head.begin(), head.end(), is_control));
  if (controls == 0) return false;
  return has_invalid_utf8(head) || (head.size() >= kFewBytes && 10 * controls > head.size());
}

std::string written_format(const std::string& folder) {
  std::error_code ignored;
  const auto has = [&](const char* name) { return fs::is_regular_file(folder + "/" + name, ignored); };
  if (has("checkpoint/trainer_state.json")) return "a training run";
  if (has("trainer_state.json") || (has("model.safetensors") && has("config.json"))) return "a checkpoint";
  if (!has("index.json") || fs::file_size(folder + "/index.json", ignored) == 0) return "";
  const nlohmann::json index =
      nlohmann::json::parse(read_file(folder + "/index.json"), nullptr, /*allow_exceptions=*/false);
  if (!index.is_object() || !index.contains("format") || !index["format"].is_string()) return "";
  const auto format = index["format"].get<std::string>();
  return format.starts_with("gca.") ? format : "";
}

}  // namespace gca::text
