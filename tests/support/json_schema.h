#pragma once
// A strict validator for the part of JSON Schema (draft 2020-12) that apps/gca/schemas uses. A keyword it
// does not know is an error, so that no schema promises what nobody checks.

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

class JsonSchema {
 public:
  /// A schema file; "$ref" may name its own "#/$defs/..." or another file of the same folder.
  explicit JsonSchema(const std::string& path)
      : folder_(path.substr(0, path.rfind('/'))), root_(load(path)) {}

  /// What is wrong with `value`, one line each; empty when it is valid.
  std::vector<std::string> problems(const nlohmann::json& value) const {
    std::vector<std::string> found;
    check(root_, value, "", found);
    return found;
  }

 private:
  using Json = nlohmann::json;

  static Json load(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("no schema " + path);
    return Json::parse(file);
  }

  static bool has_type(const Json& value, const std::string& type) {
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_boolean();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    if (type == "null") return value.is_null();
    throw std::runtime_error("unknown type " + type);
  }

  static bool has_one_type(const Json& value, const Json& types) {
    if (types.is_string()) return has_type(value, types);
    for (const Json& type : types)
      if (has_type(value, type)) return true;
    return false;
  }

  void check_reference(const std::string& reference, const Json& value, const std::string& where,
                       std::vector<std::string>& found) const {
    if (reference.starts_with("#"))
      return check(root_.at(Json::json_pointer(reference.substr(1))), value, where, found);
    for (const std::string& problem : JsonSchema(folder_ + "/" + reference).problems(value))
      found.push_back(where + problem);
  }

  void check_members(const Json& schema, const Json& value, const std::string& where,
                     std::vector<std::string>& found) const {
    const Json properties = schema.value("properties", Json::object());
    for (const auto& [name, member] : value.items()) {
      const std::string place = where + "/" + name;
      if (properties.contains(name)) {
        check(properties[name], member, place, found);
      } else if (schema.contains("additionalProperties")) {
        const Json& others = schema["additionalProperties"];
        if (others.is_object()) check(others, member, place, found);
        if (others == false) found.push_back(place + ": not in the schema");
      }
    }
  }

  /// Complains with what the nearest alternative finds.
  void check_alternatives(const Json& alternatives, const Json& value, const std::string& where,
                          std::vector<std::string>& found) const {
    std::vector<std::string> fewest;
    bool is_first = true;
    for (const Json& alternative : alternatives) {
      std::vector<std::string> problems;
      check(alternative, value, where, problems);
      if (is_first || problems.size() < fewest.size()) fewest = problems;
      is_first = false;
    }
    found.insert(found.end(), fewest.begin(), fewest.end());
  }

  void check(const Json& schema, const Json& value, const std::string& where,
             std::vector<std::string>& found) const {
    const auto complain = [&](const std::string& what) {
      found.push_back(where + ": " + what + ": " + value.dump());
    };
    for (const auto& [keyword, rule] : schema.items()) {
      if (keyword == "type") {
        if (!has_one_type(value, rule)) complain("is not of type " + rule.dump());
      } else if (keyword == "required") {
        for (const Json& name : rule)
          if (value.is_object() && !value.contains(name)) complain("lacks " + name.dump());
      } else if (keyword == "properties" || keyword == "additionalProperties") {
        continue;  // below, together
      } else if (keyword == "items") {
        for (size_t i = 0; value.is_array() && i < value.size(); ++i)
          check(rule, value[i], where + "/" + std::to_string(i), found);
      } else if (keyword == "minItems") {
        if (value.is_array() && value.size() < rule) complain("has too few items");
      } else if (keyword == "enum") {
        if (std::find(rule.begin(), rule.end(), value) == rule.end()) complain("is none of " + rule.dump());
      } else if (keyword == "const") {
        if (value != rule) complain("is not " + rule.dump());
      } else if (keyword == "minimum") {
        if (value.is_number() && !(value >= rule)) complain("is below " + rule.dump());
      } else if (keyword == "maximum") {
        if (value.is_number() && !(value <= rule)) complain("is above " + rule.dump());
      } else if (keyword == "exclusiveMinimum") {
        if (value.is_number() && !(value > rule)) complain("is not above " + rule.dump());
      } else if (keyword == "exclusiveMaximum") {
        if (value.is_number() && !(value < rule)) complain("is not below " + rule.dump());
      } else if (keyword == "pattern") {
        const std::regex pattern(rule.get<std::string>());
        if (value.is_string() && !std::regex_search(value.get<std::string>(), pattern))
          complain("does not match " + rule.dump());
      } else if (keyword == "allOf") {
        for (const Json& part : rule) check(part, value, where, found);
      } else if (keyword == "anyOf") {
        check_alternatives(rule, value, where, found);
      } else if (keyword == "$ref") {
        check_reference(rule, value, where, found);
      } else if (keyword != "$schema" && keyword != "$id" && keyword != "$defs" && keyword != "title" &&
                 keyword != "description") {
        throw std::runtime_error("unknown keyword " + keyword + " in a schema");
      }
    }
    if (value.is_object()) check_members(schema, value, where, found);
  }

  std::string folder_;
  Json root_;
};

/// The schema of a stage: apps/gca/schemas/STAGE.json.
inline JsonSchema stage_schema(const std::string& stage) {
  return JsonSchema(std::string(GCA_SOURCE_DIR) + "/apps/gca/schemas/" + stage + ".json");
}

/// All problems in one string, for CHECK(problems_of(...) == "").
inline std::string problems_of(const std::string& stage, const nlohmann::json& report) {
  std::string all;
  for (const std::string& problem : stage_schema(stage).problems(report)) all += problem + "\n";
  return all;
}
