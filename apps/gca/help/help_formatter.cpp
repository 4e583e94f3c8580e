#include "apps/gca/help/help_formatter.h"

#include <fmt/format.h>
#include <algorithm>
#include <sstream>
#include <utility>

#include "apps/gca/help/command_words.h"

namespace gca::app {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kHelpColumn = 26;

/// `text` in lines of at most `width` characters, broken at spaces; a longer word has a line of its own.
std::vector<std::string> wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (lines.empty() || lines.back().size() + 1 + word.size() > width)
      lines.push_back(word);
    else
      lines.back() += " " + word;
  }
  return lines;
}

std::string entry(const FlagWords& flag) {
  // "-h, --help"; a positional is its value alone.
  std::vector<std::string> names = flag.names;
  std::stable_partition(names.begin(), names.end(), [](const std::string& name) { return name.size() == 2; });
  std::string head = "  " + joined(names, ", ");
  if (!flag.value_name.empty()) head += (names.empty() ? "" : " ") + flag.value_name;
  if (names.empty() && flag.repeatable) head += "...";
  std::string text;
  for (const std::string& line : wrapped(full_help(flag), kWidth - kHelpColumn)) {
    // A head that reaches into the column of the text has a line of its own.
    if (text.empty() && head.size() + 2 > kHelpColumn) text = head + "\n";
    text += fmt::format("{:<{}}{}\n", text.empty() ? head : "", kHelpColumn, line);
  }
  return text;
}

}  // namespace

HelpFormatter::HelpFormatter() {
  column_width(kHelpColumn);
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const {
  const CommandWords words = command_words(*app);
  std::string text = make_description(app) + make_usage(app, std::move(name));
  if (!words.positionals.empty()) text += "\nPositionals:\n";
  for (const FlagWords& positional : words.positionals) text += entry(positional);
  for (const std::string& group : flag_groups(words)) {
    text += "\n" + group + ":\n";
    for (const FlagWords& flag : words.flags)
      if (flag.group == group) text += entry(flag);
  }
  return text + make_subcommands(app, mode);
}

}  // namespace gca::app
