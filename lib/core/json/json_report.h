#pragma once
// The envelope of every report (docs/reports.md): one JSON object with schema, command, version, started,
// seconds, machine, seed, config, result. Non-finite numbers become null.

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gca {

/// `json` as indented text that any reader takes: non-finite numbers as null, bytes that are not UTF-8 as
/// U+FFFD.
std::string json_text(const nlohmann::ordered_json& json);

/// JSON that can stand inside a script element of a page: no "</" that would end it. Bytes that are not UTF-8
/// as U+FFFD.
std::string json_in_script(const nlohmann::json& data);

class JsonReport {
 public:
  /// Starts the clock. `schema` such as "gca.pretrain/1", `version` of the program, `command` the words of
  /// the command line.
  JsonReport(std::string schema, std::string version, std::vector<std::string> command);

  nlohmann::ordered_json config = nlohmann::ordered_json::object();
  nlohmann::ordered_json result = nlohmann::ordered_json::object();
  uint64_t seed = 0;
  int threads = 0;
  std::string device = "cpu";   ///< that computes: "cpu" or "cuda"
  std::string instruction_set;  ///< of the CPU kernels; empty where none ran

  double elapsed_seconds() const;
  /// The whole document, seconds up to now.
  nlohmann::ordered_json document() const;
  /// document() as text: non-finite numbers as null, bytes that are not UTF-8 as U+FFFD.
  std::string text() const;
  /// Writes text() to `path`, aside and renamed.
  void write(const std::string& path) const;

 private:
  std::string schema_;
  std::string version_;
  std::vector<std::string> command_;
  std::chrono::system_clock::time_point started_;
  std::chrono::steady_clock::time_point clock_start_;
};

}  // namespace gca
