#include "apps/gca/help/completions.h"

#include <fmt/format.h>

#include "lib/train/settings/run_config.h"

namespace gca::app {
namespace {

std::vector<std::string> names_of(const std::vector<CommandWords>& commands) {
  std::vector<std::string> names;
  for (const CommandWords& command : commands) names.push_back(command.name);
  return names;
}

/// In single quotes of a POSIX shell.
std::string in_quotes(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

/// The bash commands that propose values of a flag.
std::string bash_values(const FlagWords& flag, const std::vector<std::string>& subcommands) {
  switch (flag.kind) {
    case ValueKind::choice:
      return "_gca_words " + in_quotes(joined(flag.choices, " "));
    case ValueKind::choices:
      return "_gca_list " + in_quotes(joined(flag.choices, " "));
    case ValueKind::file:
      return "_gca_files -f";
    case ValueKind::folder:
      return "_gca_files -d";
    case ValueKind::config:
      return "_gca_files -f; _gca_more_words " + in_quotes(joined(preset_names(), " "));
    case ValueKind::setting:
      return "_gca_settings";
    case ValueKind::subcommand:
      return "_gca_words " + in_quotes(joined(subcommands, " "));
    default:
      return ":";
  }
}

/// The action of a zsh _arguments specification.
std::string zsh_values(const FlagWords& flag, const std::vector<std::string>& subcommands) {
  switch (flag.kind) {
    case ValueKind::choice:
      return "(" + joined(flag.choices, " ") + ")";
    case ValueKind::choices:
      return "_values -s , " + flag.names.front() + " " + joined(flag.choices, " ");
    case ValueKind::file:
      return "_files";
    case ValueKind::folder:
      return "_files -/";
    case ValueKind::config:
      return "_gca_config";
    case ValueKind::setting:
      return "_gca_setting";
    case ValueKind::subcommand:
      return "(" + joined(subcommands, " ") + ")";
    default:
      return " ";
  }
}

/// What follows -l NAME of a fish `complete`.
std::string fish_values(const FlagWords& flag, const std::vector<std::string>& subcommands) {
  switch (flag.kind) {
    case ValueKind::none:
      return "";
    case ValueKind::choice:
      return " -x -a " + in_quotes(joined(flag.choices, " "));
    case ValueKind::choices:
      return " -x -a " +
             in_quotes("(__fish_complete_list , 'string split \" \" \"" + joined(flag.choices, " ") + "\"')");
    case ValueKind::file:
      return " -r -F";
    case ValueKind::folder:
      return " -x -a '(__fish_complete_directories)'";
    case ValueKind::config:
      return " -r -F -a " + in_quotes(joined(preset_names(), " "));
    case ValueKind::setting:
      return " -x -a " + in_quotes(joined(train::run_config_keys(), "= ") + "=");
    case ValueKind::subcommand:
      return " -x -a " + in_quotes(joined(subcommands, " "));
    default:
      return " -x";
  }
}

constexpr const char* kBashHead = R"sh(# bash completion for gca. Written by `gca help --format bash`.

_gca_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }

_gca_more_words() {
    local more
    mapfile -t more < <(compgen -W "$1" -- "$current")
    COMPREPLY+=("${more[@]}")
}

# Words separated by commas: the last is completed, those before it stay.
_gca_list() {
    local before=
    [[ $current == *,* ]] && before=${current%,*},
    mapfile -t COMPREPLY < <(compgen -P "$before" -W "$1" -- "${current##*,}")
}

_gca_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
}

_gca_settings() {
    compopt -o nospace 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -S = -W "$gca_settings" -- "$current")
}

_gca() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command='' word
    # bash takes --flag=value for three words.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]] && ((COMP_CWORD >= 2)); then
        previous=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* ]] || { command=$word; break; }
    done
    COMPREPLY=()
)sh";

constexpr const char* kZshHead = R"sh(#compdef gca
# zsh completion for gca. Written by `gca help --format zsh`.

)sh";

}  // namespace

std::string bash_completion(const std::vector<CommandWords>& commands) {
  const std::vector<std::string> names = names_of(commands);
  std::string script = kBashHead;
  script += "    local gca_settings=" + in_quotes(joined(train::run_config_keys(), " ")) + "\n";
  script += "    case $command in\n";
  for (const CommandWords& command : commands) {
    script += "        " + command.name + ")\n            case $previous in\n";
    std::vector<std::string> flags;
    for (const FlagWords& flag : command.flags) {
      flags.insert(flags.end(), flag.names.begin(), flag.names.end());
      if (flag.kind == ValueKind::none) continue;
      script += fmt::format("                {}) {}; return ;;\n", joined(flag.names, " | "),
                            bash_values(flag, names));
    }
    script += "            esac\n";
    std::string otherwise = "_gca_words " + in_quotes(joined(flags, " "));
    if (!command.positionals.empty())
      otherwise = "if [[ $current == -* ]]; then " + otherwise + "; else " +
                  bash_values(command.positionals.front(), names) + "; fi";
    script += "            " + otherwise + "\n            ;;\n";
  }
  script += "        *) _gca_words " + in_quotes(joined(names, " ") + " --help --version") + " ;;\n";
  return script + "    esac\n}\n\ncomplete -F _gca gca\n";
}

std::string zsh_completion(const std::vector<CommandWords>& commands) {
  const std::vector<std::string> names = names_of(commands);
  std::string script = kZshHead;
  script += "_gca_config() {\n    _alternative 'presets:preset:(" + joined(preset_names(), " ") +
            ")' 'files:file:_files'\n}\n\n";
  script += "_gca_setting() {\n    compadd -S = -q -- " + joined(train::run_config_keys(), " ") + "\n}\n\n";
  script += "_gca() {\n    local -a commands=(\n";
  for (const CommandWords& command : commands)
    script += "        " + in_quotes(command.name + ":" + marked(command.summary, ":", "\\")) + "\n";
  script +=
      "    )\n    if ((CURRENT == 2)); then\n        _describe subcommand commands\n"
      "        compadd -- --help --version\n        return\n    fi\n"
      "    local command=$words[2]\n    shift words\n    ((CURRENT--))\n    case $command in\n";
  for (const CommandWords& command : commands) {
    script += "        " + command.name + ")\n            _arguments";
    for (const FlagWords& flag : command.flags) {
      const std::string help = "[" + marked(flag.help, "[]:\\", "\\") + "]";
      for (const std::string& name : flag.names) {
        std::string spec = (flag.repeatable ? "*" : "") + name;
        if (flag.kind != ValueKind::none && name.starts_with("--")) spec += "=";
        spec += help;
        if (flag.kind != ValueKind::none)
          spec += ":" + marked(flag.value_name, ":", "\\") + ":" + zsh_values(flag, names);
        script += " \\\n                " + in_quotes(spec);
      }
    }
    for (const FlagWords& positional : command.positionals)
      script +=
          " \\\n                " + in_quotes((positional.repeatable ? "*:" : ":") + positional.value_name +
                                              ":" + zsh_values(positional, names));
    script += "\n            ;;\n";
  }
  return script + "    esac\n}\n\n_gca \"$@\"\n";
}

std::string fish_completion(const std::vector<CommandWords>& commands) {
  const std::vector<std::string> names = names_of(commands);
  std::string script =
      "# fish completion for gca. Written by `gca help --format fish`.\n\n"
      "complete -c gca -f\n"
      "complete -c gca -n __fish_use_subcommand -l version -d 'Display program version information and "
      "exit'\n"
      "complete -c gca -n __fish_use_subcommand -s h -l help -d 'Print this help message and exit'\n";
  for (const CommandWords& command : commands)
    script += fmt::format("complete -c gca -n __fish_use_subcommand -a {} -d {}\n", command.name,
                          in_quotes(command.summary));
  for (const CommandWords& command : commands) {
    const std::string seen =
        fmt::format("\ncomplete -c gca -n '__fish_seen_subcommand_from {}'", command.name);
    for (const FlagWords& flag : command.flags) {
      script += seen;
      for (const std::string& name : flag.names)
        script += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      script += fish_values(flag, names) + " -d " + in_quotes(flag.help);
    }
    for (const FlagWords& positional : command.positionals)
      script += seen + (positional.kind == ValueKind::file ? " -F" : fish_values(positional, names));
    script += "\n";
  }
  return script;
}

}  // namespace gca::app
