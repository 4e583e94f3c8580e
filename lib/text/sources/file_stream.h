#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/text/sources/byte_stream.h"

namespace gca::text {

/// Opens a file, a pipe, or standard input ("-"). Files are read, not mapped: one that another program cuts
/// short meanwhile is an error, not a signal, and one that gives its size as 0 (/proc, some network file
/// systems) is read to its end. `poll` is called before each read and when a signal interrupts one; it may
/// throw to stop. Throws Error(usage) where the file cannot be read, Error(failed) where it ends before the
/// size it had when it was opened.
std::unique_ptr<ByteStream> open_file_stream(const std::string& path, std::function<void()> poll);

}  // namespace gca::text
