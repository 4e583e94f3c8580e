#include "lib/train/data/weighted_data.h"

#include <charconv>
#include <cmath>
#include <filesystem>

#include "lib/core/error.h"

namespace gca::train {

WeightedData parse_weighted_data(const std::string& word) {
  const size_t colon = word.rfind(':');
  if (std::filesystem::exists(word) || colon == std::string::npos) return {word};
  double weight = 0;
  const char* end = word.data() + word.size();
  const auto [rest, error] = std::from_chars(word.data() + colon + 1, end, weight);
  if (rest != end || error == std::errc::invalid_argument) return {word};
  if (error != std::errc() || !std::isfinite(weight) || !(weight > 0))
    fail_usage("--data " + word, "its weight is out of range", "give a number above 0");
  return {word.substr(0, colon), weight};
}

nlohmann::ordered_json data_to_json(std::span<const std::string> words) {
  if (words.size() > 1) return std::vector<std::string>(words.begin(), words.end());
  return words.empty() ? "" : words.front();
}

std::vector<std::string> data_from_json(const nlohmann::json& json) {
  if (json.is_array()) return json.get<std::vector<std::string>>();
  const auto word = json.get<std::string>();
  return word.empty() ? std::vector<std::string>() : std::vector{word};
}

std::string data_flags(std::span<const std::string> words) {
  std::string flags;
  for (const std::string& word : words) flags += (flags.empty() ? "--data " : " --data ") + word;
  return flags;
}

}  // namespace gca::train
