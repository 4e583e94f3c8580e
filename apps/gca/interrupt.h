#pragma once
// Ctrl-C (SIGINT) and SIGTERM as a flag that long loops look at. A second signal ends the process at once.

#include <atomic>

namespace gca::app {

/// Set by the first SIGINT or SIGTERM after install_interrupt_handler().
const std::atomic<bool>& interrupt_flag();

void install_interrupt_handler();

/// Throws Interrupted (commands.h) when the flag is set.
void throw_if_interrupted();

}  // namespace gca::app
