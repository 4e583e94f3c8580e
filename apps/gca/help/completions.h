#pragma once
// Completion scripts, generated from the flags. Each is a whole file: completions/gca.bash, _gca, gca.fish.

#include <string>
#include <vector>

#include "apps/gca/help/command_words.h"

namespace gca::app {

std::string bash_completion(const std::vector<CommandWords>& commands);
std::string zsh_completion(const std::vector<CommandWords>& commands);
std::string fish_completion(const std::vector<CommandWords>& commands);

}  // namespace gca::app
