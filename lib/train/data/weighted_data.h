#pragma once
// The words of --data: DIR, or DIR:WEIGHT where several data sets are mixed.

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace gca::train {

struct WeightedData {
  std::string folder;
  double weight = 1.0;  ///< of its text tokens, against the others'
};

/// A word that names a folder is one, whatever is in it. Throws Error(usage) for a weight that is not above 0.
WeightedData parse_weighted_data(const std::string& word);

/// As reports and trainer_state.json have it: a text where there is one word or none, a list otherwise.
nlohmann::ordered_json data_to_json(std::span<const std::string> words);
/// Throws nlohmann::json::exception where it is neither.
std::vector<std::string> data_from_json(const nlohmann::json& json);

/// "--data A:6 --data B:3", for messages.
std::string data_flags(std::span<const std::string> words);

}  // namespace gca::train
