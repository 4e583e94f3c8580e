#include "lib/inspect/retrieval_page.h"

#include <cmath>
#include <string>
#include <string_view>

#include "lib/core/json/json_report.h"

namespace gca::inspect {

extern const std::string_view kRetrievalPageHtml;  // retrieval_page.html

namespace {

constexpr std::string_view kDataMark = "@DATA@";

/// Three decimals: more would only make the page larger.
double rounded(double x) {
  return std::round(x * 1000.0) / 1000.0;
}

/// [chunk, score, weight]; where positions choose, the tokens that did beside it, and the weight of each of
/// its tokens where they chose those.
nlohmann::json retrieved_to_json(const RetrievedChunk& read) {
  nlohmann::json json = {read.chunk, rounded(read.score), rounded(read.weight)};
  if (read.chosen_by == 0) return json;
  json.push_back(read.chosen_by);
  if (read.of_tokens.empty()) return json;
  json.push_back(nlohmann::json::array());
  for (const double weight : read.of_tokens) json.back().push_back(rounded(weight));
  return json;
}

nlohmann::json chunk_to_json(const RetrievalPageInput& input, const ChunkReading& reading) {
  nlohmann::json pieces = nlohmann::json::array();
  nlohmann::json losses = nlohmann::json::array();
  nlohmann::json losses_reading_none = nlohmann::json::array();
  for (int64_t i = reading.first_token; i < reading.first_token + reading.tokens; ++i) {
    const auto token = static_cast<size_t>(i);
    pieces.push_back(input.pieces[token]);
    losses.push_back(rounded(input.losses[token]));
    losses_reading_none.push_back(rounded(input.losses_reading_none[token]));
  }
  nlohmann::json readers = nlohmann::json::array();
  for (const auto& reader : reading.readers) {
    nlohmann::json retrieved = nlohmann::json::array();
    for (const RetrievedChunk& read : reader) retrieved.push_back(retrieved_to_json(read));
    readers.push_back(std::move(retrieved));
  }
  return {{"first", reading.first_token},
          {"pieces", std::move(pieces)},
          {"loss", std::move(losses)},
          {"none", std::move(losses_reading_none)},
          {"readers", std::move(readers)}};
}

}  // namespace

std::string retrieval_page(const RetrievalPageInput& input) {
  nlohmann::json data;
  data["title"] = input.title;
  data["model"] = input.model;
  data["readers"] = input.readers;
  data["before"] = nlohmann::json::object();
  for (const auto& [chunk, read] : input.before)
    data["before"][std::to_string(chunk)] = {
        {"document", read.place.document}, {"chunk", read.place.chunk}, {"text", read.text}};
  data["chunks"] = nlohmann::json::array();
  for (const ChunkReading& reading : input.readings) data["chunks"].push_back(chunk_to_json(input, reading));
  std::string page(kRetrievalPageHtml);
  page.replace(page.find(kDataMark), kDataMark.size(), json_in_script(data));
  return page;
}

}  // namespace gca::inspect
