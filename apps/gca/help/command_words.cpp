#include "apps/gca/help/command_words.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "lib/model/presets.h"

namespace gca::app {
namespace {

/// "a,b,c" of a value name such as "NAME:{a,b,c}", as words.
std::vector<std::string> choices_of(const std::string& type_name) {
  std::vector<std::string> choices;
  const size_t open = type_name.find('{');
  const size_t close = type_name.rfind('}');
  if (open == std::string::npos || close == std::string::npos) return choices;
  std::string word;
  for (const char c : type_name.substr(open + 1, close - open - 1) + ",") {
    if (c != ',') {
      word += c;
    } else {
      choices.push_back(word);
      word.clear();
    }
  }
  return choices;
}

ValueKind kind_of(const FlagWords& flag) {
  const std::string& name = flag.value_name;
  if (name.empty()) return ValueKind::none;
  if (!flag.choices.empty()) return name.ends_with(",...") ? ValueKind::choices : ValueKind::choice;
  if (name == "DIR" || name == "CHECKPOINT") return ValueKind::folder;
  if (name.starts_with("FILE") || name == "INPUT" || name == "RUN") return ValueKind::file;
  if (name == "PRESET|FILE") return ValueKind::config;
  if (name == "KEY=VALUE") return ValueKind::setting;
  if (name == "SUBCOMMAND") return ValueKind::subcommand;
  return ValueKind::any;
}

FlagWords flag_words(const CLI::App& command, const CLI::Option& option) {
  FlagWords flag;
  for (const std::string& name : option.get_lnames()) flag.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
  const std::string type_name = option.get_type_name();
  const bool is_switch = option.get_type_size() == 0;
  if (!option.nonpositional())
    flag.value_name = option.get_name(true);
  else if (!is_switch)
    flag.value_name = type_name.substr(0, type_name.find(':'));
  flag.help = option.get_description();
  flag.group = option.get_group();
  flag.choices = choices_of(type_name);
  flag.kind = kind_of(flag);
  flag.repeatable = option.get_expected_max() > 1 || flag.kind == ValueKind::setting;
  flag.required = option.get_required();
  // CLI11 keeps them in the order of their addresses.
  const std::set<CLI::Option*> excluded = option.get_excludes();
  for (const CLI::Option* other : command.get_options())
    if (excluded.contains(const_cast<CLI::Option*>(other)))
      flag.excluded.push_back("--" + other->get_lnames().front());
  return flag;
}

}  // namespace

std::string full_help(const FlagWords& flag) {
  std::string help = flag.help;
  if (flag.required) help += "; required";
  if (!flag.excluded.empty()) help += "; not with " + joined(flag.excluded, ", ");
  return help;
}

CommandWords command_words(const CLI::App& command) {
  CommandWords words;
  words.name = command.get_name();
  words.summary = command.get_description();
  for (const CLI::Option* option : command.get_options()) {
    FlagWords flag = flag_words(command, *option);
    (flag.names.empty() ? words.positionals : words.flags).push_back(std::move(flag));
  }
  return words;
}

std::vector<std::string> flag_groups(const CommandWords& command) {
  std::vector<std::string> groups;
  for (const FlagWords& flag : command.flags)
    if (std::find(groups.begin(), groups.end(), flag.group) == groups.end()) groups.push_back(flag.group);
  return groups;
}

std::vector<CommandWords> all_command_words(const CLI::App& app) {
  std::vector<CommandWords> all;
  for (const CLI::App* command : app.get_subcommands({})) all.push_back(command_words(*command));
  return all;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const model::PresetText& preset : model::embedded_presets()) names.emplace_back(preset.name);
  return names;
}

std::string joined(const std::vector<std::string>& words, const std::string& separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

std::string marked(const std::string& text, const std::string& special, const std::string& mark) {
  std::string result;
  for (const char c : text) {
    if (special.find(c) != std::string::npos) result += mark;
    result += c;
  }
  return result;
}

}  // namespace gca::app
