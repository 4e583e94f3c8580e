#pragma once
// What happens at signals that end the process at once.

namespace gca::app {

/// From here on:
/// - SIGINT and SIGTERM, until something else is done about them (interrupt.h), remove the lock files of the
///   process before they end it.
/// - SIGBUS ends it with one line and status 1: a file that is mapped into memory was cut short by another
///   program. The line names the file.
void handle_fatal_signals();

}  // namespace gca::app
