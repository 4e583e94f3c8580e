#pragma once
// Results on standard output, each write checked: a full disk is an error, a reader that has gone away is the end.

#include <exception>
#include <string_view>

namespace gca::app {

/// Whoever read standard output has closed it: the process ends quietly.
struct ClosedPipe : std::exception {
  const char* what() const noexcept override { return "standard output was closed"; }
};

/// Buffered. Throws ClosedPipe, or Error(failed) when the bytes cannot be written.
void write_output(std::string_view text);

/// Sends on what is buffered; called after each piece of streamed text and by main at the end.
void flush_output();

}  // namespace gca::app
