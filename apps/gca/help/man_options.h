#pragma once
// The part of a man page that the flags decide.

#include <string>

#include "apps/gca/help/command_words.h"

namespace gca::app {

/// Sections OPTIONS and, where the command takes --set, SETTINGS, in the man(7) language.
std::string man_options(const CommandWords& command);

}  // namespace gca::app
