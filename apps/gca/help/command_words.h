#pragma once
// The definitions of the flags, read back from CLI11: the one source of completions and man pages.

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace gca::app {

/// What a value is, for completion.
enum class ValueKind {
  none,     ///< a switch
  any,      ///< nothing to propose
  choice,   ///< one of `choices`
  choices,  ///< several of `choices`, separated by commas
  file,
  folder,
  config,   ///< a preset or a file
  setting,  ///< KEY=VALUE
  subcommand
};

struct FlagWords {
  std::vector<std::string> names;  ///< "--help", "-h"; empty for a positional
  std::string value_name;          ///< "DIR"; empty for a switch
  std::string help;
  std::string group;  ///< "Options", "Common"
  ValueKind kind = ValueKind::any;
  std::vector<std::string> choices;
  bool repeatable = false;
  bool required = false;
  std::vector<std::string> excluded;  ///< flags that cannot stand beside it, in the order of the help
};

struct CommandWords {
  std::string name;
  std::string summary;
  std::vector<FlagWords> flags;  ///< in the order of the help
  std::vector<FlagWords> positionals;
};

/// What help and man pages say of a flag: its help, whether it is required, what excludes it.
std::string full_help(const FlagWords& flag);

CommandWords command_words(const CLI::App& command);
/// The groups of its flags, in the order of the help.
std::vector<std::string> flag_groups(const CommandWords& command);
/// Every subcommand of `app`, help included.
std::vector<CommandWords> all_command_words(const CLI::App& app);

/// Names of the presets, and keys of --set.
std::vector<std::string> preset_names();

/// The words with `separator` between them.
std::string joined(const std::vector<std::string>& words, const std::string& separator);
/// `text` with every character of `special` behind a `mark`.
std::string marked(const std::string& text, const std::string& special, const std::string& mark);

}  // namespace gca::app
