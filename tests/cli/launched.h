#pragma once
// Commands as several ranks, and what their reports must have in common with those of one process.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/run_gca.h"

/// gca launch -n RANKS -- WORDS.
inline std::vector<std::string> launched(int ranks, const std::vector<std::string>& words) {
  std::vector<std::string> all = {"launch", "-n", std::to_string(ranks), "--"};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

inline size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// A report without what differs from run to run: times, rates, the machine, and the path of the program.
inline nlohmann::ordered_json without_times(nlohmann::ordered_json report) {
  for (const char* key : {"started", "seconds", "machine"}) report.erase(key);
  if (report.contains("command")) report["command"].erase(report["command"].begin());
  const auto clear = [](const auto& self, nlohmann::ordered_json& json) -> void {
    if (json.is_object())
      for (const char* key : {"seconds", "haystack_seconds", "tokens_per_second", "megabytes_per_second",
                              "build_seconds", "peak_memory_bytes", "ms_per_token", "prompt_seconds"})
        json.erase(key);
    if (json.is_structured())
      for (auto& part : json) self(self, part);
  };
  clear(clear, report["result"]);
  return report;
}

inline nlohmann::ordered_json without_times(const std::string& report) {
  return without_times(nlohmann::ordered_json::parse(report));
}
