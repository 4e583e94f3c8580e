#pragma once
// One table per configuration struct ties each member to its JSON name, so that files, --set, --print-config,
// completions and the nearest-name hint of an unknown key all read the same list.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace gca {

/// How a setting may change while a model is trained.
enum class Change {
  never,      ///< the run's
  per_phase,  ///< a phase or a task of it may set it
  ramp,       ///< it may also move evenly during a phase
};

template <class Config>
struct ConfigField {
  using Member = std::variant<bool Config::*, int64_t Config::*, double Config::*, std::string Config::*,
                              std::vector<double> Config::*, std::vector<int64_t> Config::*>;
  const char* key;  ///< JSON name
  Member member;
  const char* help;  ///< one line
  Change change = Change::never;
};

/// The known name nearest to `key` by edit distance, for hints.
std::string nearest_name(std::string_view key, std::span<const std::string> known);

/// Parses the right-hand side of --set KEY=VALUE: JSON where it parses (numbers, true, lists), sizes such as
/// 16K, text otherwise.
nlohmann::json parse_setting_value(const std::string& text);

/// "a whole number", "a list of numbers", ...: what a field of this type expects, for error messages.
std::string expected_type(const nlohmann::json& example);

namespace detail {
[[noreturn]] void fail_field_type(const std::string& where, const std::string& key,
                                  const nlohmann::json& value, const char* expected);
/// The nearest whole number; Error(usage) where there is none.
int64_t rounded(const std::string& where, const std::string& key, double value);
void read_value(const std::string& where, const std::string& key, const nlohmann::json& value, bool& out);
void read_value(const std::string& where, const std::string& key, const nlohmann::json& value, int64_t& out);
void read_value(const std::string& where, const std::string& key, const nlohmann::json& value, double& out);
void read_value(const std::string& where, const std::string& key, const nlohmann::json& value,
                std::string& out);
void read_value(const std::string& where, const std::string& key, const nlohmann::json& value,
                std::vector<double>& out);
void read_value(const std::string& where, const std::string& key, const nlohmann::json& value,
                std::vector<int64_t>& out);
}  // namespace detail

/// Sets the field `key` from JSON. Returns false when this table has no such key; throws Error(usage) naming
/// `where` when the type is wrong.
template <class Config>
bool set_field(Config& config, std::span<const ConfigField<Config>> fields, const std::string& where,
               const std::string& key, const nlohmann::json& value) {
  for (const auto& field : fields) {
    if (key != field.key) continue;
    std::visit([&](auto member) { detail::read_value(where, key, value, config.*member); }, field.member);
    return true;
  }
  return false;
}

/// Sets the field `key`, which must be a number, whole ones to the nearest. Returns false when this table has
/// no such key; throws Error(usage) naming `where` when it is too large for a whole number.
template <class Config>
bool set_field_number(Config& config, std::span<const ConfigField<Config>> fields, const std::string& where,
                      const std::string& key, double value) {
  for (const auto& field : fields) {
    if (key != field.key) continue;
    if (const auto* whole = std::get_if<int64_t Config::*>(&field.member))
      config.** whole = detail::rounded(where, key, value);
    else
      config.*std::get<double Config::*>(field.member) = value;
    return true;
  }
  return false;
}

/// Takes over from `from` what may change while a model is trained.
template <class Config>
void copy_changing_fields(Config& config, std::span<const ConfigField<Config>> fields, const Config& from) {
  for (const auto& field : fields)
    if (field.change != Change::never)
      std::visit([&](auto member) { config.*member = from.*member; }, field.member);
}

template <class Config>
nlohmann::ordered_json fields_to_json(const Config& config, std::span<const ConfigField<Config>> fields) {
  nlohmann::ordered_json json;
  for (const auto& field : fields)
    std::visit([&](auto member) { json[field.key] = config.*member; }, field.member);
  return json;
}

template <class Config>
std::vector<std::string> field_names(std::span<const ConfigField<Config>> fields) {
  std::vector<std::string> names;
  for (const auto& field : fields) names.emplace_back(field.key);
  return names;
}

}  // namespace gca
