#pragma once
// Reports against the schemas of apps/gca/schemas, by python3-jsonschema.

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/run_gca.h"

/// What is wrong with `report` by apps/gca/schemas/STAGE.json, one line each; empty where it is valid.
inline std::string problems_of(const std::string& stage, const nlohmann::json& report) {
  const std::string source = GCA_SOURCE_DIR;
  const ProcessResult result = run_program(
      {"sh", "-c", std::string(GCA_PYTHON) + " \"$@\"", "sh", source + "/tests/support/validate_json.py",
       source + "/apps/gca/schemas/" + stage + ".json"},
      report.dump());
  return result.status == 0 ? result.out : "the validator failed: " + result.err;
}
