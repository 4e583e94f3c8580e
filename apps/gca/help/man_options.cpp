#include "apps/gca/help/man_options.h"

#include <algorithm>

#include "lib/train/settings/run_config.h"

namespace gca::app {
namespace {

/// Text that roff shows as it is.
std::string plain(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\')
      result += "\\e";
    else if (c == '-')
      result += "\\-";
    else
      result += c;
  }
  return (result.starts_with(".") || result.starts_with("'") ? "\\&" : "") + result;
}

std::string bold(const std::string& text) {
  return "\\fB" + plain(text) + "\\fR";
}

std::string italic(const std::string& text) {
  return "\\fI" + plain(text) + "\\fR";
}

std::string entry(const FlagWords& flag) {
  std::vector<std::string> names;
  for (const std::string& name : flag.names) names.push_back(bold(name));
  std::string head = joined(names, ", ");
  if (!flag.value_name.empty()) head += (head.empty() ? "" : " ") + italic(flag.value_name);
  return ".TP\n" + head + "\n" + plain(full_help(flag)) + ".\n";
}

}  // namespace

std::string man_options(const CommandWords& command) {
  std::string page = ".SH OPTIONS\n";
  for (const FlagWords& positional : command.positionals) page += entry(positional);
  const std::vector<std::string> groups = flag_groups(command);
  for (const std::string& group : groups) {
    if (group != groups.front()) page += ".SS " + plain(group) + " options\n";
    for (const FlagWords& flag : command.flags)
      if (flag.group == group) page += entry(flag);
  }
  const bool has_settings =
      std::any_of(command.flags.begin(), command.flags.end(),
                  [](const FlagWords& flag) { return flag.kind == ValueKind::setting; });
  if (!has_settings) return page;
  page += ".SH SETTINGS\nKeys of \\fB\\-\\-set\\fR and of configuration files, with their defaults.\n";
  for (const train::Setting& setting : train::run_config_settings())
    page += ".TP\n" + bold(setting.key) + " = " + plain(setting.default_value) + "\n" +
            plain(setting.meaning) + ".\n";
  return page;
}

}  // namespace gca::app
