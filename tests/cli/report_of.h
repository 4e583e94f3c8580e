#pragma once
// What a command reports, and that it refuses: for tests that run the program.

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"

/// The result in the report of a command that must succeed, and whose report must follow its schema.
inline nlohmann::json report_of(std::vector<std::string> words, const std::string& schema) {
  words.emplace_back("--json");
  const ProcessResult result = run_gca(words);
  INFO(result.err);
  REQUIRE(result.status == 0);
  const nlohmann::json report = result.json();
  CHECK(problems_of(schema, report) == "");
  return report["result"];
}

/// Wrong usage is told in one line.
inline void check_refused(const std::vector<std::string>& words, const std::string& says) {
  const ProcessResult result = run_gca(words);
  CAPTURE(says);
  CHECK(result.status == 2);
  CHECK(result.err.find(says) != std::string::npos);
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
}
