#pragma once
// What --help looks like: a flag with its value, and beside it its text, wrapped to the 80 columns of a terminal.

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace gca::app {

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

}  // namespace gca::app
